# A loop within the shell: no process is started.
i=0
sum=0
while [ $i -lt 30000 ]; do
    case $i in
    *7) sum=$((sum + i * 3)) ;;
    *) sum=$(((sum ^ i) & 65535)) ;;
    esac
    i=$((i + 1))
done
echo $sum
