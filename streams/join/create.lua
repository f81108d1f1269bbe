-- Create a shard unless it exists; return its fields, whoever created it.
--
-- KEYS[1]: m. ARGV: field, value, field, value, ...
if redis.call('HEXISTS', KEYS[1], 'format') == 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return redis.call('HGETALL', KEYS[1])
