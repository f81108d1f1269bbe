"""Redis: one store, the master that Sentinels name, or a cluster, all through the same few calls.

    url.py         the grammar of a store's url
    address.py     the section [redis]: where the store is, users and passwords
    tls.py         certificates, and why a store closed the connection
    rights.py      the rights that our user needs; `guard.lua` checks them before anything is written
    client.py      opens the connection; the calls that differ on a cluster   ┐ the only modules that import
    faults.py      the client's errors as ours                                ┘ the client library

Knows nothing of shards, steps or samples: a key is whatever the caller says it is.
"""

from streams.redis.address import Address
from streams.redis.client import ANSWER_S, Client, connect
from streams.redis.url import redacted

__all__ = ["ANSWER_S", "Address", "Client", "connect", "redacted"]
