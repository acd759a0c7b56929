-- Write down a call that the registry has lost; one that it knows stays as it is.
-- KEYS  1 record
-- ARGV  1 ttl_ms  2… field, value, …
-- returns 1, or 0 when the call is known
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
for i = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
