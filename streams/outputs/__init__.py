"""Where the samples of a join without a model go.

samples.py     reads the sample streams, in the order of each shard
writer.py      writes them to outputs, each exactly once, and trims the streams
topic.py       an output: a Kafka topic
parquet.py     an output: folders of Parquet files; needs the extra `parquet`
"""
