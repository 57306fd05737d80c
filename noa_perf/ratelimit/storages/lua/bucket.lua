-- Token bucket, leaky bucket and GCRA. Kept: "<when, in quanta>:<ticks that it holds>".
-- a: ticks of one unit, ticks that it holds at most, ticks that leak out in a quantum, microseconds of a quantum.
algorithms.bucket = {}

function algorithms.bucket.read(kept, now, a)
    local at, was, filled = math.floor(now / a[4]), two(kept)
    filled = filled or 0
    if was and at > was then
        filled = math.max(0, filled - (at - was) * a[3])
    elseif was and was - at > math.ceil(a[2] / a[3]) then -- from before the clock was set back
        filled = 0
    end
    return {at = at, filled = filled}
end

function algorithms.bucket.admits(state, now, cost, a)
    return state.filled + cost * a[1] <= a[2]
end

function algorithms.bucket.take(key, state, now, cost, a)
    state.filled = state.filled + cost * a[1]
    algorithms.bucket.write(key, state, now, a)
end

function algorithms.bucket.give(key, state, now, cost, a, at)
    local given = cost * a[1]
    if at > 0 then -- what may have leaked out since is gone: to take it out too would take out what others poured in
        given = math.max(0, given - math.max(0, state.at - math.floor(at / a[4])) * a[3])
    end
    state.filled = math.max(0, state.filled - given)
    algorithms.bucket.write(key, state, now, a)
end

function algorithms.bucket.remaining(state, now, a)
    return math.floor((a[2] - state.filled) / a[1])
end

function algorithms.bucket.reset(state, now, a)
    return algorithms.bucket.leaked(state, state.filled, now, a)
end

function algorithms.bucket.retry(state, now, cost, a)
    local wanted = cost * a[1]
    if wanted > a[2] then
        return -1
    end
    return algorithms.bucket.leaked(state, state.filled + wanted - a[2], now, a)
end

function algorithms.bucket.leaked(state, ticks, now, a)
    if ticks <= 0 then
        return 0
    end
    return (state.at + math.ceil(ticks / a[3])) * a[4] - now
end

function algorithms.bucket.write(key, state, now, a)
    keep(key, whole('%d:%d', state.at, state.filled), algorithms.bucket.reset(state, now, a))
end
