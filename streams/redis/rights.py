"""The rights that our user needs on a store with access control lists, and no others.

Owns the rule that errors and documents show. `guard.lua` checks the rights to write before a script writes: a right
found missing halfway would leave half a step in the store. Imports no client.
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
    """Return the commands that we call, inside scripts and outside."""
    return (*SCRIPTS, *READS, *WRITES, *SERVER, *(CLUSTER if cluster else ()))


def rule(user: str, *, cluster: bool) -> str:
    """Return the command that grants a user these rights; it leaves the user's password as it is."""
    granted = " ".join(f"+{command}" for command in commands(cluster=cluster))
    return f"ACL SETUSER {user} on {KEYS} {granted}"
