"""The shadow of a shop's own model, which goes on serving: what would ours have answered, and how much better?"""

import msgspec

from shadowstream import Online, Pipeline, fields


class Visit(msgspec.Struct):
    """What the shop's model reads."""

    age: float
    pages: float
    country: str


class Scored(msgspec.Struct):
    """The JSON that the shop publishes for each visit, beside the score itself."""

    visit: Visit


pipeline = Pipeline(
    name="shop-shadow",
    features=Scored,
    request=fields(id="id", t="scored_at", t_unit="iso"),
    theirs="score",
    outcome=fields(id="visit_id", t="at", t_unit="iso", label="bought"),
    online=Online(learning_rate=0.01, half_life=1_500),  # a small feed: learn faster than the defaults
)
