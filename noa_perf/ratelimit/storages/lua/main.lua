-- What one request is charged, decided at once: all limits or none.
-- KEYS: for each limit what is kept of the client, and then what blocks it.
-- ARGV: what to do, the moment to give back, then for each limit: its algorithm, whether it only counts (1), the
-- units, and four numbers of the algorithm.
-- Returns the moment, then for each limit: whether it agrees, units left, microseconds until all are back and until
-- the units asked for are there (-1: never).
local what, at = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local WIDTH = 7
local limits, agreed = {}, true
local kept = redis.call('MGET', unpack(KEYS)) -- a log, which is a list, reads itself

for i = 1, #KEYS / 2 do
    local from = 2 + (i - 1) * WIDTH
    local limit = {
        key = KEYS[2 * i - 1],
        shadow = ARGV[from + 2] == '1',
        cost = tonumber(ARGV[from + 3]),
        a = {tonumber(ARGV[from + 4]), tonumber(ARGV[from + 5]), tonumber(ARGV[from + 6]), tonumber(ARGV[from + 7])},
        algorithm = algorithms[ARGV[from + 1]],
        blocked = math.max(0, (tonumber(kept[2 * i] or 0) or 0) - now),
    }
    limit.state = limit.algorithm.read(kept[2 * i - 1], now, limit.a, limit.key)
    limit.admits = limit.algorithm.admits(limit.state, now, limit.cost, limit.a)
    limit.allowed = limit.admits and limit.blocked == 0
    if not limit.allowed and not limit.shadow then
        agreed = false
    end
    limits[i] = limit
end

local reply = {now}
for _, limit in ipairs(limits) do
    local algorithm, state, a = limit.algorithm, limit.state, limit.a
    if what == 'take' then
        limit.cost = math.min(limit.cost, algorithm.remaining(state, now, a))
    end
    if what == 'take' or what == 'give' then
        limit.admits, limit.allowed = true, limit.blocked == 0
    end
    if limit.cost > 0 then
        if what == 'give' then
            algorithm.give(limit.key, state, now, limit.cost, a, at)
        elseif what == 'take' or (what == 'hit' and agreed and limit.allowed) then
            algorithm.take(limit.key, state, now, limit.cost, a)
        end
    end
    local retry = limit.admits and 0 or algorithm.retry(state, now, limit.cost, a, limit.key)
    if retry >= 0 then
        retry = math.max(retry, limit.blocked)
    end
    reply[#reply + 1] = limit.allowed and 1 or 0
    reply[#reply + 1] = limit.blocked > 0 and 0 or algorithm.remaining(state, now, a)
    reply[#reply + 1] = math.max(limit.blocked, algorithm.reset(state, now, a))
    reply[#reply + 1] = retry
end
return reply
