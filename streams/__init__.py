"""Events in, samples out: the feed's contracts, Kafka, and the join in Redis."""
