-- Releases somebody, and forgets how often there was a ban, in a network around it too.
-- KEYS: bans, ends, log, state, bans so far of the client, banned addresses in it, and those of the network around it.
-- ARGV: client, most changes, 1 if no trace may be left. Returns 1 if there was a ban.
-- It is told of even where there was none: a Redis that was emptied has forgotten bans that processes have not.
local log, state = KEYS[3], KEYS[4]
local was = redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[5], KEYS[6])
if KEYS[7] then
  redis.call('ZREM', KEYS[7], ARGV[1])
end
local time = redis.call('TIME')
redis.call('HSETNX', state, 'epoch', time[1] .. '.' .. time[2])
local number = redis.call('HINCRBY', state, 'number', 1)
if ARGV[3] == '1' then
  redis.call('DEL', log) -- whoever misses changes reads all bans
else
  redis.call('ZADD', log, number, string.format('%d 0 0 - %s', number, ARGV[1]))
  redis.call('ZREMRANGEBYRANK', log, 0, -1 - ARGV[2])
end
for _, key in ipairs({log, state}) do
  if redis.call('PTTL', key) < 86400000 then
    redis.call('PEXPIRE', key, '86400000')
  end
end
return was
