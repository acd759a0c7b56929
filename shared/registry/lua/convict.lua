-- A call has killed its workers, with this build of its bot. Enough different ones of late quarantine the build, as
-- shared/fleet/quarantine.py says. A call counts once.
-- KEYS  1 convictions  2 quarantine
-- ARGV  1 call_id  2 bot  3 build  4 ms for which a conviction counts  5 how many are needed  6 most builds that are kept
--       7 most calls that are kept  8 ttl_ms  9 now_ms ("" = Redis' own time)
-- returns the quarantine that holds for this build (JSON), or nil
local bot, build, most_builds, most_calls = ARGV[2], ARGV[3], tonumber(ARGV[6]), tonumber(ARGV[7])
local now = tonumber(ARGV[9])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[4]))
local of_build = bot .. ' ' .. build .. ' '
redis.call('ZADD', KEYS[1], 'NX', now, of_build .. ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local calls = {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if member:sub(1, #of_build) == of_build then
    table.insert(calls, member:sub(#of_build + 1))
  end
end

local function add(list, item, most)
  for _, known in ipairs(list) do
    if known == item then
      return
    end
  end
  table.insert(list, item)
  if #list > most then
    table.remove(list, 1)
  end
end

local was_read, kept = pcall(cjson.decode, redis.call('HGET', KEYS[2], bot) or '')
if not (was_read and type(kept) == 'table' and type(kept.builds) == 'table' and type(kept.calls) == 'table') then
  kept = {at_ms = now, builds = {}, calls = {}}
end
local is_barred = false
for _, known in ipairs(kept.builds) do
  is_barred = is_barred or known == build
end
if not is_barred and #calls < tonumber(ARGV[5]) then
  return nil
end
add(kept.builds, build, most_builds)
for _, call in ipairs(is_barred and {ARGV[1]} or calls) do
  add(kept.calls, call, most_calls)
end
local told = cjson.encode(kept)
redis.call('HSET', KEYS[2], bot, told)
redis.call('PEXPIRE', KEYS[2], ARGV[8])
return told
