-- A gateway lives until its lease ends.
-- KEYS  1 gateways
-- ARGV  1 gateway_id  2 now_ms  3 lease end (ms)  4 ttl_ms
-- returns how many gateways have a lease
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return redis.call('ZCARD', KEYS[1])
