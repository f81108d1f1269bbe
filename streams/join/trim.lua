-- Drop a shard's samples before a position, and keep the entry that holds it.
--
-- KEYS: as in join.lua. ARGV[1]: the position, 'seq-chain'. A store that went back in time is left unchanged: its reader
-- will notice. XTRIM comes before HSET because it frees memory: a full store refuses a script that first writes.
local seq, chain = string.match(ARGV[1], '^(%d+)-(%d+)$')
local meta = redis.call('HMGET', KEYS[1], 'trimmed', 'seq')
if tonumber(seq) > tonumber(meta[2] or 0) then return end -- the store has kept only half of the step
local entry = redis.call('XRANGE', KEYS[5], seq .. '-0', '+', 'COUNT', 1)[1]
if not entry or string.match(entry[1], '-(%d+)$') ~= chain or tonumber(entry[2][1]) > tonumber(seq) then return end
redis.call('XTRIM', KEYS[5], 'MINID', seq .. '-0')
if tonumber(meta[1] or 0) < tonumber(seq) then
  redis.call('HSET', KEYS[1], 'trimmed', seq)
end
