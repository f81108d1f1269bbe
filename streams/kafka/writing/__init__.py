"""Writing Kafka.

sink.py        writes, with or without transactions
encoding.py    records into batches
"""
