# Hashes, regular expressions, sorting.
my ($random, %count, @lines) = (1);
for (1 .. 15000) {
    $random = ($random * 16807) % 2147483647;
    push @lines, sprintf("host%d user%d %d", $random % 50, $random % 301, $random % 1000);
}
my $sum = 0;
for (@lines) {
    if (/^host(\d+) user(\d*[13579]) (\d+)$/) {
        $count{"$1/$2"} += $3;
        $sum += $3;
    }
    (my $copy = $_) =~ s/o/00/g;
    $sum += length $copy;
}
my @order = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
print "$sum $order[0] $count{$order[0]} ", scalar(@order), "\n";
