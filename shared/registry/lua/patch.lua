-- Change fields of a call that is known.
-- KEYS  1 record
-- ARGV  1 ttl_ms  2… field, value, …
-- returns 1, or 0 when the call is unknown
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
for i = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
