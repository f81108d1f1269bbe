-- Runs before every script. With ARGV, which all that write have, it refuses a user without the right to one of the
-- commands in WRITES of rights.py.
if ARGV[1] and redis.acl_check_cmd then
  for command, args in pairs({HDEL = {'f'}, HINCRBY = {'f', 1}, HSET = {'f', 'v'}, LTRIM = {0, 1}, RPUSH = {'v'},
      XADD = {'*', 'f', 'v'}, XTRIM = {'MAXLEN', 1}}) do
    if not redis.acl_check_cmd(command, KEYS[1], unpack(args)) then
      return redis.error_reply("NOPERM this user has no permissions to run the '" .. command .. "' command")
    end
  end
end
