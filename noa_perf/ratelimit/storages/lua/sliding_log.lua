-- Sliding log. Kept: a list of "<moment>:<units ever taken up to it>"; the first is where those that count begin.
-- a: limit, microseconds of a window.
algorithms.sliding_log = {}

function algorithms.sliding_log.entry(key, index)
    return two(redis.call('LINDEX', key, index))
end

function algorithms.sliding_log.read(_, now, a, key)
    local moment, total = algorithms.sliding_log.entry(key, -1)
    if not moment or moment > now + a[2] then
        redis.call('DEL', key)
        return {length = 0, base = 0, total = 0, latest = 0}
    end
    local state = {length = redis.call('LLEN', key), total = total, latest = moment}
    algorithms.sliding_log.forget(key, state, now - a[2])
    local _, base = algorithms.sliding_log.entry(key, 0)
    state.base = base
    return state
end

-- Leaves of what no longer counts the last entry alone: the base.
function algorithms.sliding_log.forget(key, state, over)
    local second = algorithms.sliding_log.entry(key, 1)
    if not second or second > over then
        return
    end
    local low, high = 1, state.length -- the entry at low is over, the one at high is not
    while high - low > 1 do
        local middle = math.floor((low + high) / 2)
        if algorithms.sliding_log.entry(key, middle) <= over then
            low = middle
        else
            high = middle
        end
    end
    redis.call('LTRIM', key, low, -1)
    state.length = state.length - low
end

function algorithms.sliding_log.admits(state, now, cost, a)
    return state.total - state.base + cost <= a[1]
end

function algorithms.sliding_log.take(key, state, now, cost, a)
    if cost == 0 then
        return
    end
    state.total = state.total + cost
    if state.length == 0 then
        redis.call('RPUSH', key, '0:0')
        state.length = 1
    end
    if state.length > 1 and state.latest >= now then -- the same moment; or the clock was set back
        redis.call('LSET', key, -1, whole('%d:%d', state.latest, state.total))
    else
        redis.call('RPUSH', key, whole('%d:%d', now, state.total))
        state.length = state.length + 1
        state.latest = now
    end
    expire(key, algorithms.sliding_log.reset(state, now, a))
end

function algorithms.sliding_log.give(key, state, now, cost, a, at)
    if at > 0 then
        algorithms.sliding_log.strike(key, state, cost, at)
    else
        algorithms.sliding_log.drop(key, state, cost)
    end
    local moment = algorithms.sliding_log.entry(key, -1)
    if state.total <= state.base then
        redis.call('DEL', key)
        state.base, state.total, state.length = 0, 0, 0
    else
        state.latest = moment
        expire(key, algorithms.sliding_log.reset(state, now, a))
    end
end

-- Takes units off all entries from the one of that moment on, if it still counts.
function algorithms.sliding_log.strike(key, state, cost, at)
    local first
    for index = state.length - 1, 1, -1 do
        local moment = algorithms.sliding_log.entry(key, index)
        if moment == at then
            first = index
        end
        if moment <= at then
            break
        end
    end
    for index = first or state.length, state.length - 1 do
        local moment, total = algorithms.sliding_log.entry(key, index)
        redis.call('LSET', key, index, whole('%d:%d', moment, total - cost))
    end
    if first then
        state.total = state.total - cost
    end
end

-- Takes the latest units off.
function algorithms.sliding_log.drop(key, state, cost)
    local wanted = math.max(state.base, state.total - cost)
    while state.length > 1 and state.total > wanted do
        local moment = algorithms.sliding_log.entry(key, -1)
        redis.call('RPOP', key)
        local _, before = algorithms.sliding_log.entry(key, -1)
        if before < wanted then
            redis.call('RPUSH', key, whole('%d:%d', moment, wanted))
            before = wanted
        else
            state.length = state.length - 1
        end
        state.total = before
    end
end

function algorithms.sliding_log.remaining(state, now, a)
    return a[1] - (state.total - state.base)
end

function algorithms.sliding_log.reset(state, now, a)
    return state.total > state.base and state.latest + a[2] - now or 0
end

function algorithms.sliding_log.retry(state, now, cost, a, key)
    if cost > a[1] then
        return -1
    end
    -- Each entry frees a unit at least, so that no more of them are read than units are asked for.
    local wanted = state.total - a[1] + cost
    for index = 1, state.length - 1 do
        local moment, total = algorithms.sliding_log.entry(key, index)
        if total >= wanted then
            return moment + a[2] - now
        end
    end
end
