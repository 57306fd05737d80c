-- What the algorithms share. Numbers are whole, and below 2^53; "%d" writes them in full, ".." would not.
local algorithms = {}
local whole = string.format

local function two(kept)
    local first, second = string.match(kept or '', '^(%d+):(%d+)$')
    return tonumber(first), tonumber(second)
end

local function three(kept)
    local first, second, third = string.match(kept or '', '^(%d+):(%d+):(%d+)$')
    return tonumber(first), tonumber(second), tonumber(third)
end

-- Outlasts what it says, never less than it: a millisecond that is rounded down would forget a client too early.
local function expire(key, microseconds)
    redis.call('PEXPIRE', key, whole('%d', math.floor(microseconds / 1000) + 1))
end

local function keep(key, value, microseconds)
    if microseconds > 0 then
        redis.call('SET', key, value, 'PX', whole('%d', math.floor(microseconds / 1000) + 1))
    else
        redis.call('DEL', key)
    end
end
