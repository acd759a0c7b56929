-- A call has ended: its slot is free, and it waits in the outbox, once, for housekeeping.
-- KEYS  1 holders  2 outbox  3 calls
-- ARGV  1 call_id  2 now_ms  3 ttl_ms  4 prefix of slots keys
-- returns nothing
local holder = redis.call('HGET', KEYS[1], ARGV[1])
if holder then
  redis.call('ZREM', ARGV[4] .. holder, ARGV[1])
  redis.call('HDEL', KEYS[1], ARGV[1])
end
redis.call('ZADD', KEYS[2], 'NX', ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[3], 'NX', ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
