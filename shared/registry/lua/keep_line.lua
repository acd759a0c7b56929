-- Renew places in line, forget those that lapsed long ago, and tell who waits.
-- KEYS  1 line  2 places  3 bots of those who wait
-- ARGV  1 now_ms  2 until (ms)  3 places that lapsed before this (ms) are forgotten  4 ttl_ms  5… call ids to renew
-- returns {call_id, since (ms), call_id, …}, first come first
local now, found = tonumber(ARGV[1]), {}

for i = 5, #ARGV do
  local place = redis.call('HGET', KEYS[2], ARGV[i])
  if place then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[2] .. place:match('^%d+( .*)$'))
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
    redis.call('PEXPIRE', KEYS[2], ARGV[4])
    redis.call('PEXPIRE', KEYS[3], ARGV[4])
  end
end

local line = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #line, 2 do
  local until_ms = tonumber((redis.call('HGET', KEYS[2], line[i]) or '0'):match('^%d+'))
  if until_ms > now then
    table.insert(found, line[i])
    table.insert(found, line[i + 1])
  elseif until_ms <= tonumber(ARGV[3]) then
    redis.call('ZREM', KEYS[1], line[i])
    redis.call('HDEL', KEYS[2], line[i])
    redis.call('HDEL', KEYS[3], line[i])
  end
end
return found
