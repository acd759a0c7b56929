-- Give a call a place in line, behind those who came before; a place that it has is renewed, and stays where it is.
-- KEYS  1 line  2 places  3 bots of those who wait
-- ARGV  1 call_id  2 since (ms)  3 until (ms)  4 ceiling of its number (0 = none)  5 its number  6 ttl_ms  7 its bot or ""
-- returns nothing
redis.call('ZADD', KEYS[1], 'NX', ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[7])
else
  redis.call('HDEL', KEYS[3], ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('PEXPIRE', KEYS[3], ARGV[6])
