"""A look at a feed for Prometheus.

families.py    the names, what each means, and where it is in a look
text.py        a look as text, in Prometheus' format
server.py      where it is fetched: /metrics, /healthz
"""
