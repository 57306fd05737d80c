-- Releases somebody, and forgets how often there was a ban.
-- KEYS: bans, ends, log, state, bans so far of the client. ARGV: client, most changes. Returns 1 if there was a ban.
local was = redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[5])
if was == 1 then
  local number = redis.call('HINCRBY', KEYS[4], 'number', 1)
  redis.call('ZADD', KEYS[3], number, string.format('%d 0 0 - %s', number, ARGV[1]))
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - ARGV[2])
end
return was
