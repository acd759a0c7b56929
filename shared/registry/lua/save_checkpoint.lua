-- Keep what another worker needs to go on with a call, while this attachment of it is the current one.
-- KEYS  1 record  2 checkpoint
-- ARGV  1 epoch  2 checkpoint  3 ttl_ms  4 state of a call that is over
-- returns 1, or 0 when the call is over, unknown, or was attached anew
local now = redis.call('HMGET', KEYS[1], 'state', 'epoch')
if not now[1] or now[1] == ARGV[4] or now[2] ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
