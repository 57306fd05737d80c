-- KEYS: what blocks a client under a policy. ARGV: for how many microseconds; 0 ends it.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local microseconds = tonumber(ARGV[1])
if microseconds > 0 then
    local until_ = string.format('%d', now + microseconds)
    redis.call('SET', KEYS[1], until_, 'PX', string.format('%d', math.floor(microseconds / 1000) + 1))
else
    redis.call('DEL', KEYS[1])
end
return now
