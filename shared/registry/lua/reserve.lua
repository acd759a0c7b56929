-- Hold a slot for a call: the one it holds on a fresh worker, else one on the best worker, in the order of
-- shared/fleet/selector.py (share of what is offered, calls, id). Workers to avoid are neither. With a ceiling, the call is
-- placed only if fewer other calls of its number hold slots. In turn, it is placed only if there is room for it when
-- all who wait in line before it have been placed. After a start without data nothing new is placed until the workers
-- have told of their calls.
-- KEYS  1 workers  2 capacities  3 leases  4 serving  5 holders  6 line  7 places  8 since
-- ARGV  1 call_id  2 now_ms  3 slot end (ms)  4 ttl_ms  5 prefix of slots keys  6 prefix of number keys  7 its number
--       8 ceiling (0 = none; -1: the call lives, it goes up to capacities whatever is offered)  9 "1" = in turn
--       10 ms for which nothing is placed after `since`  11… workers to avoid
-- returns {worker_id, record (JSON), slot end (ms)}, or nil when no worker can take it
local call, now, slots_of, number_of = ARGV[1], tonumber(ARGV[2]), ARGV[5], ARGV[6]
local number, ceiling = ARGV[7], tonumber(ARGV[8])

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
for i = 11, #ARGV do
  avoided[ARGV[i]] = true
end

local holder = redis.call('HGET', KEYS[5], call)
local held_until = holder and not avoided[holder] and redis.call('ZSCORE', slots_of .. holder, call)
if held_until and tonumber(held_until) > now then
  local lease = redis.call('ZSCORE', KEYS[3], holder)
  if lease and tonumber(lease) > now then
    redis.call('ZREM', KEYS[6], call)
    redis.call('HDEL', KEYS[7], call)
    return {holder, redis.call('HGET', KEYS[1], holder), held_until}
  end
end

local since = redis.call('GET', KEYS[8])
if since and tonumber(since) <= now and now < tonumber(since) + tonumber(ARGV[10]) then
  return nil
end

-- how many calls of a number hold slots, this one apart
local function count_placed(whose)
  local count = 0
  for _, other in ipairs(redis.call('ZRANGE', number_of .. whose, 0, -1)) do
    local at = redis.call('HGET', KEYS[5], other)
    if not at then
      redis.call('ZREM', number_of .. whose, other)
    elseif other ~= call then
      local slot_end = redis.call('ZSCORE', slots_of .. at, other)
      if slot_end and tonumber(slot_end) > now then
        count = count + 1
      end
    end
  end
  return count
end

local function capacity_of(worker)
  local was_read, record = pcall(cjson.decode, redis.call('HGET', KEYS[1], worker) or '')
  return was_read and type(record) == 'table' and tonumber(record.capacity) or 0
end

local capacities = {}
local flat = redis.call('HGETALL', KEYS[2])
for i = 1, #flat, 2 do
  capacities[flat[i]] = tonumber(flat[i + 1])
end

local free, best, best_share, best_used = 0
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. ARGV[2], '+inf')) do
  local capacity = ceiling < 0 and capacity_of(worker) or capacities[worker] or 0
  local used = redis.call('ZCOUNT', slots_of .. worker, '(' .. ARGV[2], '+inf')
  if used < capacity and not avoided[worker] then
    free = free + capacity - used
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

-- those before this call in line, as if they had been placed
local placed = {[number] = count_placed(number)}
if ARGV[9] == '1' then
  for _, other in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1)) do
    if other == call or free == 0 then
      break
    end
    local until_ms, most, whose = (redis.call('HGET', KEYS[7], other) or ''):match('^(%d+) (%d+) (.*)$')
    if until_ms and tonumber(until_ms) > now then
      most = tonumber(most)
      placed[whose] = placed[whose] or count_placed(whose)
      if most == 0 or placed[whose] < most then
        placed[whose], free = placed[whose] + 1, free - 1
      end
    end
  end
end
if free == 0 or (ceiling > 0 and placed[number] >= ceiling) then
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
  redis.call('ZADD', number_of .. number, 'NX', ARGV[2], call)
  redis.call('PEXPIRE', number_of .. number, ARGV[4])
end
redis.call('ZREM', KEYS[6], call)
redis.call('HDEL', KEYS[7], call)
return {best, redis.call('HGET', KEYS[1], best), ARGV[3]}
