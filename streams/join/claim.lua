#!lua flags=allow-oom
-- A full store takes it: a note has one place, and who holds a feed must not seem dead where samples wait.
-- Keep or take the note of who runs a feed. Return nothing, or another's note that still counts and how old it is.
--
-- KEYS[1]: the board. ARGV: our token, our note, for how many milliseconds a note counts, and what to do: 'keep' our own
-- or take one that no longer counts, 'take' whoever has it, or 'leave' it.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local there = redis.call('HMGET', KEYS[1], 'run')[1]
local token, at, note = false, 0, ''
if there then token, at, note = unpack(cmsgpack.unpack(there)) end
if ARGV[4] == 'leave' then
  if token == ARGV[1] then redis.call('HDEL', KEYS[1], 'run') end
  return
end
if token and token ~= ARGV[1] and ARGV[4] ~= 'take' and now - at < tonumber(ARGV[3]) then return {note, now - at} end
redis.call('HSET', KEYS[1], 'run', cmsgpack.pack({ARGV[1], now, ARGV[2]}))
