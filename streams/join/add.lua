-- Add to a shard those of the partitions that it does not know; they are read from offset 0.
--
-- KEYS[1]: m. ARGV: the format, a random token, the partitions' names. Later samples depend on the partitions, so the
-- chain changes with them.
local meta = redis.call('HMGET', KEYS[1], 'format', 'watermark', 'chain')
if meta[1] ~= ARGV[1] then return redis.error_reply('MISSING there is no such shard') end
local added = {}
for i = 3, #ARGV do
  if redis.call('HEXISTS', KEYS[1], 'tp:' .. ARGV[i]) == 0 then
    added[#added + 1] = 'tp:' .. ARGV[i]
    added[#added + 1] = cmsgpack.pack({-1, 0, -1, 0, 0, 0, 0, 0, 0, 0, tonumber(meta[2]), '', -1, 0, ''})
  end
end
if #added == 0 then return end
local chain = tonumber(string.sub(redis.sha1hex(meta[3] .. ARGV[2]), 1, 13), 16)
redis.call('HSET', KEYS[1], 'chain', string.format('%.0f', chain), unpack(added))
