-- A call's timeline from an entry number on, counted from the first entry ever, dropped ones included.
-- KEYS  1 timeline  2 noted
-- ARGV  1 number of the first entry wanted
-- returns the entries, oldest first
local dropped = tonumber(redis.call('GET', KEYS[2]) or '0') - redis.call('LLEN', KEYS[1])
return redis.call('LRANGE', KEYS[1], math.max(0, tonumber(ARGV[1]) - dropped), -1)
