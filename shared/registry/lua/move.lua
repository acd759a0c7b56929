-- Apply one event to a call, by the moves that are given, together with changes to its fields. What the states
-- mean, this script does not know.
-- KEYS  1 record  2 checkpoint, which goes with the end
-- ARGV  1 now_ms  2 ttl_ms  3 fence ("" = none)  4 field that is stamped once with an attachment, "" when the
--       event is none  5 sessions kept in `deaths`  6 number of moves  then for each: from, to, field that is
--       stamped once ("" = none)  then field, value, … of the changes, then "" and field, value, … set once
-- returns {1 when moved else 0, state before, {field, value, …} as they are now}
local key, now = KEYS[1], ARGV[1]
local before = redis.call('HGET', key, 'state') or 'none'
local epoch = redis.call('HGET', key, 'epoch') or '0'
local seat, seated = unpack(redis.call('HMGET', key, 'seat', 'seated_at_ms'))

local after, stamp
local at = 7
for _ = 1, tonumber(ARGV[6]) do
  if ARGV[at] == before then
    after, stamp = ARGV[at + 1], ARGV[at + 2]
  end
  at = at + 3
end
if not after or (ARGV[3] ~= '' and tonumber(ARGV[3]) ~= tonumber(epoch)) then
  return {0, before, redis.call('HGETALL', key)}
end

while ARGV[at] ~= '' do
  redis.call('HSET', key, ARGV[at], ARGV[at + 1])
  at = at + 2
end
for i = at + 1, #ARGV, 2 do
  redis.call('HSETNX', key, ARGV[i], ARGV[i + 1])
end
redis.call('HSET', key, 'state', after)
if ARGV[4] ~= '' then
  -- above any epoch before it, and above those that were known before Redis was restarted empty
  redis.call('HSET', key, 'epoch', string.format('%.0f', math.max(tonumber(now), tonumber(epoch) + 1)))
  redis.call('HINCRBY', key, 'attachments', 1)
  redis.call('HSETNX', key, ARGV[4], now)
  if redis.call('HGET', key, 'seat') ~= seat then
    redis.call('HSET', key, 'seated_at_ms', now)
    if seat and seat ~= '' then
      local left = {}
      for session in (redis.call('HGET', key, 'deaths') or ''):gmatch('%S+') do
        table.insert(left, session)
      end
      table.insert(left, seat .. '/' .. (seated or '0') .. '/' .. now)
      redis.call('HSET', key, 'deaths', table.concat(left, ' ', math.max(1, #left - tonumber(ARGV[5]) + 1)))
    end
  end
end
if stamp ~= '' then
  redis.call('HSETNX', key, stamp, now)
  redis.call('DEL', KEYS[2])
end
redis.call('PEXPIRE', key, ARGV[2])
return {1, before, redis.call('HGETALL', key)}
