-- Hold a slot for a call: the one it holds on a fresh worker, else one on the best worker, in the order of
-- shared/fleet/selector.py (share of what is offered, calls, id). Workers to avoid are neither, and a worker that lists
-- its bots is best only if the call's is among them. With a ceiling, the call is placed only if fewer other calls of its
-- number hold slots. In turn, it is placed only if there is room for it when all who wait in line before it, for a bot
-- that one of these workers runs, have been placed. A new call is kept from workers whose build of its bot is
-- quarantined (shared/fleet/quarantine.py). After a start without data nothing new is placed until the workers have
-- told of their calls. A call that may have killed its worker (a suspect) gets none on which another suspect was seated
-- a moment ago, and none while that holds for half of the workers (for one, at least); any other call gets such a worker
-- last.
-- KEYS  1 workers  2 capacities  3 leases  4 serving  5 holders  6 line  7 places  8 bots of those who wait  9 since
--       10 workers that list their bots  11 quarantine  12 probation
-- ARGV  1 call_id  2 now_ms  3 slot end (ms)  4 ttl_ms  5 prefix of slots keys  6 prefix of number keys  7 its number
--       8 ceiling (0 = none; -1: the call lives, it goes up to capacities whatever is offered)  9 "1" = in turn
--       10 ms for which nothing is placed after `since`  11 its bot or "" (any worker runs it)  12 "1" = suspect
--       13 ms for which a worker is on probation  14… workers to avoid
-- returns {worker_id, record (JSON), slot end (ms)}, or nil when no worker can take it
local call, now, slots_of, number_of = ARGV[1], tonumber(ARGV[2]), ARGV[5], ARGV[6]
local number, ceiling, bot = ARGV[7], tonumber(ARGV[8]), ARGV[11]
local is_suspect = ARGV[12] == '1'

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

local function leave_line()
  redis.call('ZREM', KEYS[6], call)
  redis.call('HDEL', KEYS[7], call)
  redis.call('HDEL', KEYS[8], call)
end

local avoided = {}
for i = 14, #ARGV do
  avoided[ARGV[i]] = true
end

-- the workers of other suspects, and this one's own
local is_watched, own_seat = {}, nil
local seated = redis.call('HGETALL', KEYS[12])
for i = 1, #seated, 2 do
  local at, whose = seated[i + 1]:match('^(%d+) (.*)$')
  if not at or tonumber(at) + tonumber(ARGV[13]) <= now then
    redis.call('HDEL', KEYS[12], seated[i])
  elseif whose == call then
    own_seat = seated[i]
  else
    is_watched[seated[i]] = true
  end
end

local holder = redis.call('HGET', KEYS[5], call)
-- the slot that a suspect has is that of the worker that died, unless it was just given to it as a suspect
local is_kept = holder and not avoided[holder] and (not is_suspect or holder == own_seat)
local held_until = is_kept and redis.call('ZSCORE', slots_of .. holder, call)
if held_until and tonumber(held_until) > now then
  local lease = redis.call('ZSCORE', KEYS[3], holder)
  if lease and tonumber(lease) > now then
    leave_line()
    return {holder, redis.call('HGET', KEYS[1], holder), held_until}
  end
end

local since = redis.call('GET', KEYS[9])
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

local records = {}
local function record_of(worker)
  if not records[worker] then
    local was_read, record = pcall(cjson.decode, redis.call('HGET', KEYS[1], worker) or '')
    records[worker] = was_read and type(record) == 'table' and record or {}
  end
  return records[worker]
end

local function capacity_of(worker)
  return tonumber(record_of(worker).capacity) or 0
end

-- the bots of those workers whose records list them; reading every record would double the time of this script
local bots_of = {}
for _, worker in ipairs(redis.call('SMEMBERS', KEYS[10])) do
  local listed = record_of(worker).bots
  if type(listed) == 'table' then
    bots_of[worker] = {}
    for _, name in ipairs(listed) do
      bots_of[worker][name] = true
    end
  end
end

local serving = redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. ARGV[2], '+inf')

-- quarantined builds by bot; for a call that lives none is
local quarantined = {}
local stored = ceiling < 0 and {} or redis.call('HGETALL', KEYS[11])
for i = 1, #stored, 2 do
  local was_read, told = pcall(cjson.decode, stored[i + 1])
  if was_read and type(told) == 'table' and type(told.builds) == 'table' then
    quarantined[stored[i]] = {}
    for _, build in ipairs(told.builds) do
      quarantined[stored[i]][build] = true
    end
  end
end

local function builds_of(worker)
  local told = record_of(worker).builds
  return type(told) == 'table' and told or {}
end

local function is_quarantined_at(worker, asked)
  return quarantined[asked] and quarantined[asked][builds_of(worker)[asked] or ''] == true
end

local function lists(worker, asked)
  return not bots_of[worker] or asked == '' or bots_of[worker][asked] == true
end

-- the worker that goes on with quarantined bots, for no serving one runs any other
local function kept_worker()
  local first
  for _, worker in ipairs(serving) do
    if not next(builds_of(worker)) then
      return nil
    end
    for name in pairs(builds_of(worker)) do
      if lists(worker, name) and not is_quarantined_at(worker, name) then
        return nil
      end
    end
    if not first or before(worker, first) then
      first = worker
    end
  end
  return first
end

local kept = next(quarantined) and kept_worker()

local function runs(worker, asked)
  return lists(worker, asked) and (worker == kept or not is_quarantined_at(worker, asked))
end

local capacities = {}
local flat = redis.call('HGETALL', KEYS[2])
for i = 1, #flat, 2 do
  capacities[flat[i]] = tonumber(flat[i + 1])
end

local able = {}
local free, best, best_share, best_used, is_best_watched = 0
if is_suspect then
  local watched = 0
  for _, worker in ipairs(serving) do
    watched = watched + (is_watched[worker] and 1 or 0)
  end
  if watched >= math.max(1, math.floor(#serving / 2)) then
    return nil
  end
end
for _, worker in ipairs(serving) do
  local capacity = ceiling < 0 and capacity_of(worker) or capacities[worker] or 0
  local used = redis.call('ZCOUNT', slots_of .. worker, '(' .. ARGV[2], '+inf')
  local watched = is_watched[worker] or false
  if used < capacity and not avoided[worker] and runs(worker, bot) and not (is_suspect and watched) then
    free = free + capacity - used
    table.insert(able, worker)
    local share = used / capacity
    local is_better = share < (best_share or 2)
      or (share == best_share and (used < best_used or (used == best_used and before(worker, best))))
    if watched ~= is_best_watched then
      is_better = not watched
    end
    if not best or is_better then
      best, best_share, best_used, is_best_watched = worker, share, used, watched
    end
  end
end
if not best then
  return nil
end

local known = {}
local function is_run_by_able(asked)
  if known[asked] == nil then
    known[asked] = false
    for _, worker in ipairs(able) do
      if runs(worker, asked) then
        known[asked] = true
        break
      end
    end
  end
  return known[asked]
end

-- those before this call in line, as if they had been placed
local placed = {[number] = count_placed(number)}
if ARGV[9] == '1' then
  for _, other in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1)) do
    if other == call or free == 0 then
      break
    end
    local until_ms, most, whose = (redis.call('HGET', KEYS[7], other) or ''):match('^(%d+) (%d+) (.*)$')
    if until_ms and tonumber(until_ms) > now and is_run_by_able(redis.call('HGET', KEYS[8], other) or '') then
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
if is_suspect then
  if own_seat then
    redis.call('HDEL', KEYS[12], own_seat)
  end
  redis.call('HSET', KEYS[12], best, ARGV[2] .. ' ' .. call)
  redis.call('PEXPIRE', KEYS[12], ARGV[4])
end
leave_line()
return {best, redis.call('HGET', KEYS[1], best), ARGV[3]}
