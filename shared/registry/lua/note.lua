-- Append to a call's timeline, keep the newest entries, count all.
-- KEYS  1 timeline  2 noted
-- ARGV  1 ttl_ms  2 entries kept  3… entries
-- returns nothing
for i = 3, #ARGV do
  redis.call('RPUSH', KEYS[1], ARGV[i])
end
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[2]), -1)
redis.call('INCRBY', KEYS[2], #ARGV - 2)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
