-- Drop a call, if it is over.
-- KEYS  1 record  2 timeline  3 noted  4 checkpoint
-- ARGV  1 state of a call that is over
-- returns 1 when dropped, 0 when it was gone already, -1 when it is not over and stays
local state = redis.call('HGET', KEYS[1], 'state')
if state and state ~= ARGV[1] then
  return -1
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
return state and 1 or 0
