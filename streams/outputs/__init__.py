"""Where samples go without a learner: a reader of the sample streams, and the writers to a topic and to Parquet."""
