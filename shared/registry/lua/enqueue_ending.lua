-- A call has ended: its slot and its place in line are free, and it waits in the outbox, once, for housekeeping.
-- Who waits in line is nudged.
-- KEYS  1 holders  2 outbox  3 calls  4 line  5 places  6 bots of those who wait
-- ARGV  1 call_id  2 now_ms  3 ttl_ms  4 prefix of slots keys  5 channel of the nudge
-- returns nothing
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[6], ARGV[1])
local holder = redis.call('HGET', KEYS[1], ARGV[1])
if holder then
  redis.call('ZREM', ARGV[4] .. holder, ARGV[1])
  redis.call('HDEL', KEYS[1], ARGV[1])
  if redis.call('EXISTS', KEYS[4]) == 1 then
    redis.call('PUBLISH', ARGV[5], '')
  end
end
redis.call('ZADD', KEYS[2], 'NX', ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[3], 'NX', ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
