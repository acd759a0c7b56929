-- Give a call's slot back, wherever it is.
-- KEYS  1 holders
-- ARGV  1 call_id  2 prefix of slots keys
-- returns nothing
local holder = redis.call('HGET', KEYS[1], ARGV[1])
if holder then
  redis.call('ZREM', ARGV[2] .. holder, ARGV[1])
  redis.call('HDEL', KEYS[1], ARGV[1])
end
