-- A worker lives until its lease ends, and so do the slots of its live calls. Slots of the worker that are not
-- named keep their own end: a reservation waits for its stream, a call that is gone lapses. A call whose slot is
-- held on another worker by now stays there.
-- KEYS  1 workers  2 capacities  3 leases  4 serving  5 holders  6 slots of this worker
--       7 orders  8 reconnects  9 since  10 workers that list their bots
-- ARGV  1 worker_id  2 record (JSON)  3 slots that it offers  4 "1" when it takes new calls  5 now_ms  6 lease end (ms)
--       7 ttl_ms  8 slots that ended before this (ms) are forgotten  9 prefix of slots keys  10 "1" when it lists its bots
--       11… live call ids
-- returns {its order or "", 1 when the carrier is known to reconnect else 0, calls with slots here that count}
local me, now, lease_end, ttl, slots_of = ARGV[1], tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[9]

redis.call('SET', KEYS[9], ARGV[5], 'NX')
redis.call('HSET', KEYS[1], me, ARGV[2])
redis.call('HSET', KEYS[2], me, ARGV[3])
redis.call('ZADD', KEYS[3], lease_end, me)
if ARGV[4] == '1' then
  redis.call('ZADD', KEYS[4], lease_end, me)
else
  redis.call('ZREM', KEYS[4], me)
end

redis.call(ARGV[10] == '1' and 'SADD' or 'SREM', KEYS[10], me)

for i = 11, #ARGV do
  local call = ARGV[i]
  local holder = redis.call('HGET', KEYS[5], call)
  local elsewhere = holder and holder ~= me and redis.call('ZSCORE', slots_of .. holder, call)
  if not (elsewhere and tonumber(elsewhere) > now) then
    if elsewhere then
      redis.call('ZREM', slots_of .. holder, call)
    end
    redis.call('ZADD', KEYS[6], lease_end, call)
    redis.call('HSET', KEYS[5], call, me)
  end
end

for _, call in ipairs(redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', ARGV[8])) do
  redis.call('ZREM', KEYS[6], call)
  redis.call('HDEL', KEYS[5], call)
end

for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ttl)
end
return {
  redis.call('HGET', KEYS[7], me) or '',
  redis.call('EXISTS', KEYS[8]),
  redis.call('ZRANGEBYSCORE', KEYS[6], '(' .. ARGV[5], '+inf'),
}
