# A script that starts many small programs, pipes between them and writes files in memory.
b=bin/busybox
d=/dev/shm/bench.script
$b rm -rf $d
$b mkdir $d
i=0
while [ $i -lt 30 ]; do
    $b seq 1 200 | $b grep 7 | $b sort -r >$d/$i
    $b cp $d/$i $d/$i.copy
    $b cat $d/$i $d/$i.copy | $b wc -l >>$d/counts
    i=$((i + 1))
done
$b cat $d/counts | $b cksum
$b ls $d | $b wc -l
$b rm -rf $d
