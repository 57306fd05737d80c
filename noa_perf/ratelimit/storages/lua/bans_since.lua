-- Tells what has changed since somebody last asked.
-- KEYS: log, state. ARGV: epoch and number that are known.
-- Returns: epoch, number, now in ms, 1 if what follows is all that has changed since, and the changes. Of another
-- epoch, or an earlier state of this one, these are all changes: releases that are to be known beside all bans.
local time = redis.call('TIME')
local epoch, number = unpack(redis.call('HMGET', KEYS[2], 'epoch', 'number'))
number = tonumber(number or 0)
local known = tonumber(ARGV[2])
local answer = {epoch or '', number, time[1] * 1000 + math.floor(time[2] / 1000), 0}
local follows = answer[1] == ARGV[1] and number >= known
local changes = {}
if not follows then
  changes = redis.call('ZRANGE', KEYS[1], 0, -1)
elseif number > known then
  changes = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[2], '+inf')
end
if not follows or #changes == number - known then
  answer[4] = follows and 1 or 0
  for _, change in ipairs(changes) do
    table.insert(answer, change)
  end
end
return answer
