-- What one request is charged, decided at once: all limits or none.
-- KEYS: for each charge what blocks the client, then for each of its limits what is kept of the client.
-- ARGV: what to do, the moment to give back, and the charges as JSON: the units, whether it only counts, then for each
-- limit four numbers of its algorithm, and its name.
-- Returns the moment, then for each limit: units left, microseconds until all are back and until the units asked for
-- are there (0: it agrees; -1: never).
local what, at, charges = ARGV[1], tonumber(ARGV[2]), cjson.decode(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local kept = redis.call('MGET', unpack(KEYS)) -- a log, which is a list, reads itself
local limits, agreed, place = {}, true, 0

for _, charge in ipairs(charges) do
    place = place + 1
    local cost, shadow, blocked = charge[1], charge[2], math.max(0, (tonumber(kept[place] or 0) or 0) - now)
    charge.blocked, charge.passes = blocked, blocked == 0
    for i = 3, #charge do
        place = place + 1
        local key, a = KEYS[place], charge[i]
        local algorithm = algorithms[a[5]]
        local state = algorithm.read(kept[place], now, a, key)
        local admits = algorithm.admits(state, now, cost, a)
        charge.passes = charge.passes and admits
        limits[#limits + 1] = {
            charge = charge, key = key, a = a, algorithm = algorithm, state = state, admits = admits,
        }
    end
    agreed = agreed and (shadow or charge.passes)
end

local reply = {now}
for _, limit in ipairs(limits) do
    local charge, key, a, algorithm = limit.charge, limit.key, limit.a, limit.algorithm
    local cost, blocked, state, admits = charge[1], charge.blocked, limit.state, limit.admits
    if what == 'take' or what == 'give' then
        admits = true
    end
    if what == 'take' then
        cost = math.min(cost, algorithm.remaining(state, now, a))
    end
    if cost > 0 then
        if what == 'give' then
            algorithm.give(key, state, now, cost, a, at)
        elseif what == 'take' or (what == 'hit' and agreed and charge.passes) then
            algorithm.take(key, state, now, cost, a)
        end
    end
    local retry = admits and 0 or algorithm.retry(state, now, cost, a, key)
    reply[#reply + 1] = blocked > 0 and 0 or algorithm.remaining(state, now, a)
    reply[#reply + 1] = math.max(blocked, algorithm.reset(state, now, a))
    reply[#reply + 1] = retry < 0 and retry or math.max(retry, blocked)
end
return reply
