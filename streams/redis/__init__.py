"""Redis: one store, the master that Sentinels name, or a cluster, all behind the same few calls.

    address.py     the section [redis]: where the store is and how to get in
    tls.py         certificates, and why a store hung up
    rights.py      what our user needs, and that it is there before anything is written
    client.py      opens the connection; the calls that a cluster answers otherwise   ┐ the only modules that import
    faults.py      the client's errors as ours                                        ┘ the client library

Knows nothing of shards, steps or samples: a key is whatever the caller says it is.
"""

from streams.redis.address import Address, redacted
from streams.redis.client import Client, connect

__all__ = ["Address", "Client", "connect", "redacted"]
