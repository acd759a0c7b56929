-- A worker is gone, and its slots with it.
-- KEYS  1 workers  2 capacities  3 leases  4 serving  5 holders  6 slots of this worker
--       7 orders  8 workers that list their bots
-- ARGV  1 worker_id
-- returns nothing
for _, call in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1)) do
  redis.call('HDEL', KEYS[5], call)
end
redis.call('DEL', KEYS[6])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[7], ARGV[1])
redis.call('SREM', KEYS[8], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
