-- Bans somebody, or says that somebody is banned; a network too, once enough of its addresses are.
-- KEYS: bans (client -> "until tier rule"), ends (client by until), log (changes by number), state (epoch, number),
--   bans so far of the client, and, where a network may be banned: those of the network, its banned addresses by time.
-- ARGV: client, rule, mode, first ms, factor, longest ms, memory ms, most bans, most changes,
--   network, enough addresses, within ms.
-- Mode "once" leaves a ban that is in force as it is, "longest" the one that ends later, "set" the new one.
-- Returns, for each: client, rule, tier, ms left, 1 if it is new; and last the epoch.
local bans, ends, log, state = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local rule, mode, memory = ARGV[2], ARGV[3], tonumber(ARGV[7])
local first, factor, longest = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function outlast(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, string.format('%d', ms))
  end
end

local function drop(clients)
  for _, client in ipairs(clients) do
    redis.call('HDEL', bans, client)
    redis.call('ZREM', ends, client)
  end
end

local function tell(client, untilms, tier)
  redis.call('HSETNX', state, 'epoch', time[1] .. '.' .. time[2])
  local number = redis.call('HINCRBY', state, 'number', 1)
  redis.call('ZADD', log, number, string.format('%d %d %d %s %s', number, untilms, tier, rule, client))
  redis.call('ZREMRANGEBYRANK', log, 0, -1 - ARGV[9])
end

local function ban(client, so_far)
  local known = redis.call('HGET', bans, client)
  if known then
    local untilms, tier, by = string.match(known, '^(%d+) (%d+) (.+)$')
    local left = untilms - now
    if left > 0 and (mode == 'once' or (mode == 'longest' and left >= first)) then
      return client, by, tonumber(tier), left, 0
    end
  end
  local tier = redis.call('INCR', so_far)
  local ms = math.floor(math.min(first * factor ^ (tier - 1), longest))
  outlast(so_far, ms + memory)
  redis.call('HSET', bans, client, string.format('%d %d %s', now + ms, tier, rule))
  redis.call('ZADD', ends, string.format('%d', now + ms), client)
  tell(client, now + ms, tier)
  for _, key in ipairs({bans, ends, log, state}) do
    outlast(key, ms + 86400000)
  end
  return client, rule, tier, ms, 1
end

drop(redis.call('ZRANGEBYSCORE', ends, '-inf', string.format('%d', now), 'LIMIT', 0, 100))
local found = {ban(ARGV[1], KEYS[5])}
drop(redis.call('ZRANGE', ends, 0, -1 - ARGV[8]))
if ARGV[10] ~= '' and found[5] == 1 then
  local within = tonumber(ARGV[12])
  redis.call('ZADD', KEYS[7], string.format('%d', now), ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', string.format('%d', now - within))
  redis.call('PEXPIRE', KEYS[7], string.format('%d', within))
  if redis.call('ZCARD', KEYS[7]) >= tonumber(ARGV[11]) then
    for _, part in ipairs({ban(ARGV[10], KEYS[6])}) do
      table.insert(found, part)
    end
  end
end
table.insert(found, redis.call('HGET', state, 'epoch') or '')
return found
