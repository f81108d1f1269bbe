"""Plays the shop: thirty days of a thousand visits each, in about a minute, and ten minutes after each its outcome.

    python produce.py [HOST:PORT]

Any Kafka client can do this; kafka-python is installed with Shadowstream. Without an address it publishes to the broker
of shadowstream.toml, or to the one that `shadowstream run` has started in this folder.
"""

import json
import random
import sys
import time
import tomllib
from pathlib import Path

from kafka import KafkaProducer

NAME = "my-feed"
DAYS, VISITS_A_DAY = 30, 1_000
DAY_MS, TEN_MINUTES_MS = 86_400_000, 600_000
HERE = Path(__file__).parent


def broker() -> str:
    """Return the broker's address."""
    if sys.argv[1:]:
        return sys.argv[1]
    settings = tomllib.loads((HERE / "shadowstream.toml").read_text(encoding="utf-8"))
    if address := settings.get("kafka", {}).get("bootstrap"):
        return str(address)
    addresses = HERE / ".shadowstream" / NAME / "embedded.json"
    if not addresses.is_file():
        sys.exit("no broker yet: run `shadowstream run pipeline.py` in this folder, in another terminal")
    return str(json.loads(addresses.read_text(encoding="utf-8"))["bootstrap"])


def main() -> None:
    """Publish all visits and outcomes, a day at a time."""
    producer = KafkaProducer(bootstrap_servers=broker())
    random.seed(0)
    start_ms = int(time.time() * 1_000) - DAYS * DAY_MS
    for day in range(DAYS):
        outcomes = []
        for n in range(VISITS_A_DAY):
            key, at_ms = f"visit-{day}-{n}".encode(), start_ms + day * DAY_MS + n * DAY_MS // VISITS_A_DAY
            age, pages = random.randint(18, 80), random.randint(1, 20)
            buys = random.random() < (0.8 if pages > 10 and age < 50 else 0.1)
            visit = {"age": age, "pages": pages}
            producer.send(f"{NAME}.requests", json.dumps(visit).encode(), key=key, timestamp_ms=at_ms)
            outcomes.append((key, {"label": int(buys)}, at_ms + TEN_MINUTES_MS))
        producer.flush()
        time.sleep(1)  # the server answers
        for key, outcome, at_ms in outcomes:
            producer.send(f"{NAME}.outcomes", json.dumps(outcome).encode(), key=key, timestamp_ms=at_ms)
        producer.flush()
        time.sleep(1)
        print(f"day {day + 1} of {DAYS}: {VISITS_A_DAY} visits, and what became of them", flush=True)
    producer.close()


if __name__ == "__main__":
    main()
