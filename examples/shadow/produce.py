"""Plays the shop: its model scores sixty days of visits, and an hour after each comes the outcome. About two minutes.

    python produce.py [HOST:PORT]

The shop knows nothing of Shadowstream. Its model does not know that from day 30 on, readers of many pages only look.
Without an address it publishes to the broker of shadowstream.toml, or to the one that `shadowstream run` has started.
"""

import json
import math
import random
import sys
import time
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kafka import KafkaProducer

DAYS, CHANGES_ON, VISITS_A_DAY = 60, 30, 1_000
COUNTRIES = {"DE": 0.0, "FR": 0.5, "JP": -1.0}
HERE = Path(__file__).parent


def broker() -> str:
    """Return the broker's address."""
    if sys.argv[1:]:
        return sys.argv[1]
    settings = tomllib.loads((HERE / "shadowstream.toml").read_text(encoding="utf-8"))
    if address := settings.get("kafka", {}).get("bootstrap"):
        return str(address)
    addresses = HERE / ".shadowstream" / "shop-shadow" / "embedded.json"
    if not addresses.is_file():
        sys.exit("no broker yet: run `shadowstream run pipeline.py` in this folder, in another terminal")
    return str(json.loads(addresses.read_text(encoding="utf-8"))["bootstrap"])


def chance(logit: float) -> float:
    """Return σ(logit)."""
    return 1 / (1 + math.exp(-logit))


def visit(day: int) -> tuple[dict[str, object], float, bool]:
    """Return a visit, the shop's score, and whether it ends in a purchase."""
    age, pages, country = random.randint(18, 80), random.randint(1, 20), random.choice(list(COUNTRIES))
    score = chance(-2.5 + 0.2 * pages - 0.01 * (age - 40))
    sign = 1 if day < CHANGES_ON else -1
    bought = random.random() < chance(-1.2 + sign * 0.2 * (pages - 8) + COUNTRIES[country])
    return {"age": age, "pages": pages, "country": country}, score, bought


def main() -> None:
    """Publish all scores and purchases, a day at a time."""
    producer = KafkaProducer(bootstrap_servers=broker())
    random.seed(0)
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=DAYS)
    for day in range(DAYS):
        purchases = []
        for n in range(VISITS_A_DAY):
            id_, at = f"visit-{day}-{n}", start + timedelta(days=day + n / VISITS_A_DAY)
            what, score, bought = visit(day)
            scored = {"id": id_, "scored_at": at.isoformat(), "visit": what, "score": round(score, 4)}
            producer.send("shop.scores", json.dumps(scored).encode(), key=id_.encode())
            purchases.append({"visit_id": id_, "at": (at + timedelta(hours=1)).isoformat(), "bought": int(bought)})
        producer.flush()
        time.sleep(1)
        for purchase in purchases:
            producer.send("shop.purchases", json.dumps(purchase).encode(), key=str(purchase["visit_id"]).encode())
        producer.flush()
        time.sleep(1)
        print(f"day {day + 1} of {DAYS}: {VISITS_A_DAY} visits, and what became of them", flush=True)
    producer.close()


if __name__ == "__main__":
    main()
