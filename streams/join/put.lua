#!lua flags=allow-oom
-- Write to the board, also where the store is full: its notes are few and small, and what makes room writes them, too.
-- Then wake who waits for them, if the user may publish.
--
-- KEYS[1]: the board, and the channel. ARGV: names and values in turn.
redis.call('HSET', KEYS[1], unpack(ARGV))
if not redis.acl_check_cmd or redis.acl_check_cmd('PUBLISH', KEYS[1], '') then
  local names = {}
  for i = 1, #ARGV, 2 do names[#names + 1] = ARGV[i] end
  redis.pcall('PUBLISH', KEYS[1], table.concat(names, ' '))
end
