#!lua flags=allow-oom
-- Write to the board, also where the store is full: its notes are few and small, and what makes room writes them, too.
--
-- KEYS[1]: the board. ARGV: names and values in turn.
redis.call('HSET', KEYS[1], unpack(ARGV))
