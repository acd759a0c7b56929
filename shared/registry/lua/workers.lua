-- All workers as they are at one instant.
-- KEYS  1 workers  2 leases
-- ARGV  1 now_ms  2 prefix of slots keys
-- returns {worker_id, record (JSON), lease end (ms), slots in use, worker_id, …}, in no order
local found = {}
local leases = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
for i = 1, #leases, 2 do
  local worker = leases[i]
  table.insert(found, worker)
  table.insert(found, redis.call('HGET', KEYS[1], worker))
  table.insert(found, leases[i + 1])
  table.insert(found, redis.call('ZCOUNT', ARGV[2] .. worker, '(' .. ARGV[1], '+inf'))
end
return found
