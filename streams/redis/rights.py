"""What our user needs of a store with access control lists, and nothing more.

Owns the rule set that errors and documents show, and the script that makes sure of the rights before anything is
written: a right that is missing in the middle would leave half a step. Imports no client.
"""

SCRIPTS = ("eval", "evalsha")
READS = (
    "hexists",
    "hgetall",
    "hlen",
    "hmget",
    "lindex",
    "llen",
    "lrange",
    "time",
    "xrange",
    "xread",
    "xrevrange",
)
WRITES = ("hdel", "hincrby", "hset", "ltrim", "rpush", "xadd", "xtrim")
SERVER = ("info",)
CLUSTER = ("asking", "cluster|slots", "command")
KEYS = "~{*}:*"


def commands(*, cluster: bool) -> tuple[str, ...]:
    """Name the commands that we call, in scripts and out of them."""
    return (*SCRIPTS, *READS, *WRITES, *SERVER, *(CLUSTER if cluster else ()))


def rule(user: str, *, cluster: bool) -> str:
    """Give the command that grants a user what we need; the password it has, or gets, is another rule of it."""
    granted = " ".join(f"+{command}" for command in commands(cluster=cluster))
    return f"ACL SETUSER {user} on {KEYS} {granted}"


GUARD = """
if ARGV[1] and redis.acl_check_cmd then
  for command, args in pairs({HDEL = {'f'}, HINCRBY = {'f', 1}, HSET = {'f', 'v'}, LTRIM = {0, 1}, RPUSH = {'v'},
      XADD = {'*', 'f', 'v'}, XTRIM = {'MAXLEN', 1}}) do
    if not redis.acl_check_cmd(command, KEYS[1], unpack(args)) then
      return redis.error_reply("NOPERM this user has no permissions to run the '" .. command .. "' command")
    end
  end
end
"""
