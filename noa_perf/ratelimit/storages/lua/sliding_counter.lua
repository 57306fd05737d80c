-- Sliding counter. Kept: "<which window>:<its units>:<those of the window before>".
-- a: limit, microseconds of a window, microseconds of a quantum, quanta of a window.
algorithms.sliding_counter = {}

function algorithms.sliding_counter.read(kept, now, a)
    local window = math.floor(now / a[2])
    local was, count, before = three(kept)
    if not was or was < window - 1 or was > window + 1 then
        return {window = window, count = 0, before = 0}
    end
    if was == window - 1 then
        return {window = window, count = 0, before = count}
    end
    return {window = was, count = count, before = before}
end

function algorithms.sliding_counter.weighed(state, now, a)
    local into = math.floor(math.max(0, now - state.window * a[2]) / a[3])
    return math.ceil(state.before * (a[4] - into) / a[4])
end

function algorithms.sliding_counter.admits(state, now, cost, a)
    return state.count + algorithms.sliding_counter.weighed(state, now, a) + cost <= a[1]
end

function algorithms.sliding_counter.take(key, state, now, cost, a)
    state.count = state.count + cost
    algorithms.sliding_counter.write(key, state, now, a)
end

function algorithms.sliding_counter.give(key, state, now, cost, a, at)
    local ago = at > 0 and state.window - math.floor(at / a[2])
    local here = (not ago or ago == 0) and math.min(cost, state.count) or 0
    state.count = state.count - here
    if not ago or ago == 1 then
        state.before = math.max(0, state.before - (cost - here))
    end
    algorithms.sliding_counter.write(key, state, now, a)
end

function algorithms.sliding_counter.remaining(state, now, a)
    return math.max(0, a[1] - state.count - algorithms.sliding_counter.weighed(state, now, a))
end

function algorithms.sliding_counter.reset(state, now, a)
    if state.count > 0 then
        return (state.window + 2) * a[2] - now
    end
    return state.before > 0 and (state.window + 1) * a[2] - now or 0
end

function algorithms.sliding_counter.retry(state, now, cost, a)
    if cost > a[1] then
        return -1
    end
    local window, before, room = state.window, state.before, a[1] - cost - state.count
    if room < 0 then -- not in this window: in the next one this one's count is the former
        window, before, room = window + 1, state.count, a[1] - cost
    end
    local into = (a[4] - math.floor(room * a[4] / before)) * a[3]
    return window * a[2] + math.min(into, a[2]) - now
end

function algorithms.sliding_counter.write(key, state, now, a)
    local kept = whole('%d:%d:%d', state.window, state.count, state.before)
    keep(key, kept, algorithms.sliding_counter.reset(state, now, a))
end
