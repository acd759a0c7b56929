-- A bot is quarantined no longer, and what it was convicted of is forgotten.
-- KEYS  1 convictions  2 quarantine
-- ARGV  1 bot
-- returns 1 when it was quarantined else 0
local of_bot = ARGV[1] .. ' '
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if member:sub(1, #of_bot) == of_bot then
    redis.call('ZREM', KEYS[1], member)
  end
end
return redis.call('HDEL', KEYS[2], ARGV[1])
