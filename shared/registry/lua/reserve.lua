-- Hold a slot for a call: the one it holds on a fresh worker, else one on the best worker, in the order of
-- shared/fleet/selector.py (share of capacity, calls, id). Workers to avoid are neither. With a ceiling, the call is
-- placed only if fewer other calls of its number hold slots. After a start without data nothing new is placed until
-- the workers have told of their calls.
-- KEYS  1 workers  2 capacities  3 leases  4 serving  5 holders  6 calls of its number  7 since
-- ARGV  1 call_id  2 now_ms  3 slot end (ms)  4 ttl_ms  5 prefix of slots keys  6 ceiling (0 = none)
--       7 ms for which nothing is placed after `since`  8… workers to avoid
-- returns {worker_id, record (JSON), slot end (ms)}, or nil when no worker can take it
local call, now, slots_of, ceiling = ARGV[1], tonumber(ARGV[2]), ARGV[5], tonumber(ARGV[6])

-- Lua's own < on strings asks the server's locale; this one compares bytes
local function before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

local avoided = {}
for i = 8, #ARGV do
  avoided[ARGV[i]] = true
end

local holder = redis.call('HGET', KEYS[5], call)
local held_until = holder and not avoided[holder] and redis.call('ZSCORE', slots_of .. holder, call)
if held_until and tonumber(held_until) > now then
  local lease = redis.call('ZSCORE', KEYS[3], holder)
  if lease and tonumber(lease) > now then
    return {holder, redis.call('HGET', KEYS[1], holder), held_until}
  end
end

local since = redis.call('GET', KEYS[7])
if since and now < tonumber(since) + tonumber(ARGV[7]) then
  return nil
end

if ceiling > 0 then
  local others = 0
  for _, other in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1)) do
    local at = redis.call('HGET', KEYS[5], other)
    if not at then
      redis.call('ZREM', KEYS[6], other)
    elseif other ~= call then
      local slot_end = redis.call('ZSCORE', slots_of .. at, other)
      if slot_end and tonumber(slot_end) > now then
        others = others + 1
      end
    end
  end
  if others >= ceiling then
    return nil
  end
end

local capacities = {}
local flat = redis.call('HGETALL', KEYS[2])
for i = 1, #flat, 2 do
  capacities[flat[i]] = tonumber(flat[i + 1])
end

local best, best_share, best_used
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. ARGV[2], '+inf')) do
  local capacity = capacities[worker] or 0
  local used = redis.call('ZCOUNT', slots_of .. worker, '(' .. ARGV[2], '+inf')
  if used < capacity and not avoided[worker] then
    local share = used / capacity
    if not best or share < best_share
      or (share == best_share and (used < best_used or (used == best_used and before(worker, best)))) then
      best, best_share, best_used = worker, share, used
    end
  end
end
if not best then
  return nil
end

if holder then
  redis.call('ZREM', slots_of .. holder, call)
end
redis.call('ZADD', slots_of .. best, ARGV[3], call)
redis.call('HSET', KEYS[5], call, best)
redis.call('PEXPIRE', slots_of .. best, ARGV[4])
redis.call('PEXPIRE', KEYS[5], ARGV[4])
if ceiling > 0 then
  redis.call('ZADD', KEYS[6], 'NX', ARGV[2], call)
  redis.call('PEXPIRE', KEYS[6], ARGV[4])
end
return {best, redis.call('HGET', KEYS[1], best), ARGV[3]}
