-- Create a shard unless it exists, and keep whose log it joins; return its fields, whoever created it.
--
-- KEYS[1]: m. ARGV: the number of words that say whose it is, and these ('cluster', id, 'topic:NAME', id, ...); then
-- 'format', value, 'shards', value, and the other fields of a new shard. A shard without a cluster or a topic's id takes
-- the caller's, and so it does where nothing of that topic was read. Where something differs, nothing is written.
local first = tonumber(ARGV[1]) + 2
if redis.call('HEXISTS', KEYS[1], 'format') == 0 then redis.call('HSET', KEYS[1], unpack(ARGV, 2)) end
local fields = redis.call('HGETALL', KEYS[1])
local known, read = {}, {}
for i = 1, #fields, 2 do
  known[fields[i]] = fields[i + 1]
  local topic = string.match(fields[i], '^tp:(.*):%d+$')
  if topic then
    local at = cmsgpack.unpack(fields[i + 1])
    read['topic:' .. topic] = read['topic:' .. topic] or at[2] ~= at[5]
  end
end
local changed = {}
for i = 2, first - 1, 2 do
  local name, value = ARGV[i], ARGV[i + 1]
  if known[name] and known[name] ~= value and (name == 'cluster' or read[name]) then return fields end
  if known[name] ~= value then
    changed[#changed + 1] = name
    changed[#changed + 1] = value
  end
end
for i = first, first + 3, 2 do
  if known[ARGV[i]] ~= ARGV[i + 1] then return fields end
end
if #changed > 0 then redis.call('HSET', KEYS[1], unpack(changed)) end
return redis.call('HGETALL', KEYS[1])
