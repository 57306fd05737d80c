-- Fixed window. Kept: "<which window>:<units>".
-- a: limit, microseconds of a window.
algorithms.fixed_window = {}

function algorithms.fixed_window.read(kept, now, a)
    local window, was, count = math.floor(now / a[2]), two(kept)
    if not was or was < window or was > window + 1 then
        return {window = window, count = 0}
    end
    return {window = was, count = count}
end

function algorithms.fixed_window.admits(state, now, cost, a)
    return state.count + cost <= a[1]
end

function algorithms.fixed_window.take(key, state, now, cost, a)
    state.count = state.count + cost
    algorithms.fixed_window.write(key, state, now, a)
end

function algorithms.fixed_window.give(key, state, now, cost, a, at)
    if at > 0 and math.floor(at / a[2]) ~= state.window then
        return
    end
    state.count = math.max(0, state.count - cost)
    algorithms.fixed_window.write(key, state, now, a)
end

function algorithms.fixed_window.remaining(state, now, a)
    return a[1] - state.count
end

function algorithms.fixed_window.reset(state, now, a)
    return state.count > 0 and (state.window + 1) * a[2] - now or 0
end

function algorithms.fixed_window.retry(state, now, cost, a)
    return cost > a[1] and -1 or (state.window + 1) * a[2] - now
end

function algorithms.fixed_window.write(key, state, now, a)
    keep(key, whole('%d:%d', state.window, state.count), algorithms.fixed_window.reset(state, now, a))
end
