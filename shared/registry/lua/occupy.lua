-- The stream of a call came to a worker: its slot there lasts until the lease ends, if the call holds one or the
-- worker offers more than it has. A slot that the call holds on another worker is given back.
-- KEYS  1 capacities  2 holders  3 slots of this worker
-- ARGV  1 call_id  2 worker_id  3 now_ms  4 slot end (ms)  5 ttl_ms  6 prefix of slots keys
-- returns 1, or 0 when the worker is full without this call, or unknown
local call, me, now = ARGV[1], ARGV[2], tonumber(ARGV[3])

local offered = redis.call('HGET', KEYS[1], me)
if not offered then
  return 0
end
local own_end = redis.call('ZSCORE', KEYS[3], call)
if not (own_end and tonumber(own_end) > now) then
  if redis.call('ZCOUNT', KEYS[3], '(' .. ARGV[3], '+inf') >= tonumber(offered) then
    return 0
  end
end

local holder = redis.call('HGET', KEYS[2], call)
if holder and holder ~= me then
  redis.call('ZREM', ARGV[6] .. holder, call)
end
redis.call('ZADD', KEYS[3], ARGV[4], call)
redis.call('HSET', KEYS[2], call, me)
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('PEXPIRE', KEYS[3], ARGV[5])
return 1
