-- Give a call's slot back, wherever it is; who waits in line is nudged.
-- KEYS  1 holders  2 line
-- ARGV  1 call_id  2 prefix of slots keys  3 channel of the nudge
-- returns nothing
local holder = redis.call('HGET', KEYS[1], ARGV[1])
if holder then
  redis.call('ZREM', ARGV[2] .. holder, ARGV[1])
  redis.call('HDEL', KEYS[1], ARGV[1])
  if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('PUBLISH', ARGV[3], '')
  end
end
