-- Tables, strings, closures: what Lua programs are made of.
local random = 1
local function next_random()
    random = (random * 16807) % 2147483647
    return random
end
local words, count = {}, {}
for i = 1, 30000 do
    words[i] = string.format("w%d", next_random() % 2000)
end
for _, word in ipairs(words) do
    count[word] = (count[word] or 0) + 1
end
local names = {}
for name in pairs(count) do
    names[#names + 1] = name
end
table.sort(names, function(a, b) return count[a] > count[b] or (count[a] == count[b] and a < b) end)
local function queens(n, row, columns, up, down)
    if row > n then return 1 end
    local found = 0
    for c = 1, n do
        if not columns[c] and not up[row + c] and not down[row - c + n] then
            columns[c], up[row + c], down[row - c + n] = true, true, true
            found = found + queens(n, row + 1, columns, up, down)
            columns[c], up[row + c], down[row - c + n] = false, false, false
        end
    end
    return found
end
print(names[1], count[names[1]], names[100], queens(8, 1, {}, {}, {}))
