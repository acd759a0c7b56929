-- Slots that have ended by themselves, or whose worker's lease has.
-- KEYS  1 leases
-- ARGV  1 now_ms  2 prefix of slots keys
-- returns {call_id, worker_id, slot end (ms), lease end (ms), call_id, …}, in no order
local found = {}
local leases = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #leases, 2 do
  local worker, lease_end = leases[i], leases[i + 1]
  local until_ms = ARGV[1]
  if tonumber(lease_end) <= tonumber(ARGV[1]) then
    until_ms = '+inf'
  end
  local slots = redis.call('ZRANGEBYSCORE', ARGV[2] .. worker, '-inf', until_ms, 'WITHSCORES')
  for j = 1, #slots, 2 do
    table.insert(found, slots[j])
    table.insert(found, worker)
    table.insert(found, slots[j + 1])
    table.insert(found, lease_end)
  end
end
return found
