# Objects, dictionaries, strings, integers of many digits.
class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y

    def plus(self, other):
        return Point(self.x + other.x, self.y + other.y)


def collatz(limit):
    longest = 0
    for start in range(1, limit):
        n, steps = start, 0
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            steps += 1
        longest = max(longest, steps)
    return longest


total = Point(0, 0)
for i in range(20000):
    total = total.plus(Point(i, i * i))
words = {}
for i in range(20000):
    key = "k%d" % (i * 7919 % 3001)
    words[key] = words.get(key, 0) + 1
power = 3 ** 2000
print(total.x, total.y, sorted(words.items(), key=lambda w: (-w[1], w[0]))[:3], collatz(1500), len(str(power)))
