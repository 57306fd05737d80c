-- Sliding counter with a guarantee. Kept: "<which part>:<its units>,<those of the part before>,...".
-- a: limit, microseconds of a part, how many parts a window has.
algorithms.sub_windows = {}

function algorithms.sub_windows.read(kept, now, a)
    local part = math.floor(now / a[2])
    local state = {part = part, counts = {}, used = 0}
    for age = 0, a[3] do
        state.counts[age] = 0
    end
    local was, counts = string.match(kept or '', '^(%d+):([%d,]+)$')
    was = tonumber(was)
    if not was or was > part + a[3] then
        return state
    end
    state.part = math.max(part, was)
    local age = state.part - was
    for count in string.gmatch(counts, '%d+') do
        if age <= a[3] then
            state.counts[age] = tonumber(count)
            state.used = state.used + state.counts[age]
        end
        age = age + 1
    end
    return state
end

function algorithms.sub_windows.admits(state, now, cost, a)
    return state.used + cost <= a[1]
end

function algorithms.sub_windows.take(key, state, now, cost, a)
    state.counts[0] = state.counts[0] + cost
    state.used = state.used + cost
    algorithms.sub_windows.write(key, state, now, a)
end

function algorithms.sub_windows.give(key, state, now, cost, a, at)
    local first, last = 0, a[3]
    if at > 0 then
        first = state.part - math.floor(at / a[2])
        last = first
    end
    for age = first, last do
        if state.counts[age] then
            local given = math.min(cost, state.counts[age])
            state.counts[age] = state.counts[age] - given
            state.used = state.used - given
            cost = cost - given
        end
    end
    algorithms.sub_windows.write(key, state, now, a)
end

function algorithms.sub_windows.remaining(state, now, a)
    return a[1] - state.used
end

function algorithms.sub_windows.reset(state, now, a)
    return state.used > 0 and algorithms.sub_windows.freed(state, state.used, a) - now or 0
end

function algorithms.sub_windows.retry(state, now, cost, a)
    return cost > a[1] and -1 or algorithms.sub_windows.freed(state, state.used + cost - a[1], a) - now
end

function algorithms.sub_windows.freed(state, wanted, a)
    local age = a[3]
    while wanted > state.counts[age] do
        wanted = wanted - state.counts[age]
        age = age - 1
    end
    return (state.part + a[3] + 1 - age) * a[2]
end

function algorithms.sub_windows.write(key, state, now, a)
    local counts = {}
    for age = 0, a[3] do
        counts[age + 1] = whole('%d', state.counts[age])
    end
    local kept = whole('%d', state.part) .. ':' .. table.concat(counts, ',')
    keep(key, kept, algorithms.sub_windows.reset(state, now, a))
end
