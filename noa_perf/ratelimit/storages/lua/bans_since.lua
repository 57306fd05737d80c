-- Tells what has changed since somebody last asked.
-- KEYS: log, state. ARGV: epoch and number that are known.
-- Returns: epoch, number, now in ms, 1 if what follows is all that has changed since, and the changes.
local time = redis.call('TIME')
local epoch, number = unpack(redis.call('HMGET', KEYS[2], 'epoch', 'number'))
number = tonumber(number or 0)
local known = tonumber(ARGV[2])
local answer = {epoch or '', number, time[1] * 1000 + math.floor(time[2] / 1000), 0}
if answer[1] ~= ARGV[1] or number < known then
  return answer
end
local changes = {}
if number > known then
  changes = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[2], '+inf')
end
if #changes == number - known then
  answer[4] = 1
  for _, change in ipairs(changes) do
    table.insert(answer, change)
  end
end
return answer
