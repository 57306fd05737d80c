-- Tells what has changed since somebody last asked.
-- KEYS: log, state. ARGV: epoch and number that are known, and the change of that number, empty if that is not known.
-- Returns: epoch, number, now in ms, 1 if what follows is all that has changed since, and the changes. Where it is not,
-- what follows are all changes that are kept, releases that are to be known beside all bans: of another epoch, of an
-- earlier state of this one, or, with -1 in place of the 1, of one in which others have taken the numbers since.
local time = redis.call('TIME')
local epoch, number = unpack(redis.call('HMGET', KEYS[2], 'epoch', 'number'))
number = tonumber(number or 0)
local known, last = tonumber(ARGV[2]), ARGV[3]
local there = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], ARGV[2])[1]
local another = last ~= '' and there and there ~= last -- a failover has lost it
local answer = {epoch or '', number, time[1] * 1000 + math.floor(time[2] / 1000), another and -1 or 0}
local follows = answer[1] == ARGV[1] and number >= known and not another
local changes = {}
if not follows then
  changes = redis.call('ZRANGE', KEYS[1], 0, -1)
elseif number > known then
  changes = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[2], '+inf')
end
if not follows or #changes == number - known then
  answer[4] = follows and 1 or answer[4]
  for _, change in ipairs(changes) do
    table.insert(answer, change)
  end
end
return answer
