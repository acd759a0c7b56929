-- Close the record of a call that has ended, once.
-- KEYS  1 record
-- ARGV  1 now_ms  2 ttl_ms  3 state of a call that is over
-- returns {field, value, …} as they are now, or nil when the call is unknown, lives, or was closed before
if redis.call('HGET', KEYS[1], 'state') ~= ARGV[3] then
  return nil
end
local closed = redis.call('HGET', KEYS[1], 'closed_at_ms')
if closed and closed ~= '0' then
  return nil
end
redis.call('HSET', KEYS[1], 'closed_at_ms', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('HGETALL', KEYS[1])
