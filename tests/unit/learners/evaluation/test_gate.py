"""The gate's policy: what is refused, and what is doubted."""

from typing import Any

import pytest

from learners.evaluation.gate import Promotion
from streams.errors import ConfigError


def test_settings_that_contradict_are_refused() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"alpha": 1.5}, "Promotion.alpha must be above 0 and below 1, got 1.5"),
        ({"futility": 0.0}, "Promotion.futility must be above 0 and below 1, got 0.0"),
        ({"every_days": 0}, "Promotion.every_days must be above 0"),
        ({"every_days": 1e308}, "Promotion.every_days must be above 0 and below 36,600"),
        ({"margin": 1.0}, "Promotion.margin must be above -1 and below 1, got 1.0"),
        ({"candidates_a_year": 0}, "Promotion.candidates_a_year must be at least 1"),
        ({"trials": 0}, "Promotion.trials must be at least 1"),
        ({"other_a_year": 0}, "Promotion.other_a_year must be at least 1"),
        ({"rails": 0.1}, "Promotion.rails must be GuardRails(...), got 0.1"),
        ({"guards": "no"}, "Promotion.guards must be a list of functions, got 'no'"),
        ({"guards": print}, "Promotion.guards must be a list of functions, got <built-in"),
        ({"horizon": 10**12}, "Promotion.horizon must be at least 1 and at most"),
    ]
    for parts, said in wrong:
        with pytest.raises(ConfigError) as raised:
            Promotion(**parts)
        assert said in str(raised.value)


@pytest.mark.parametrize(
    ("every_days", "candidates", "needed"),
    [(7, 52, None), (7, 47, 52), (1, 52, 364), (1, 364, None), (0.5, 365, 728), (30, 1, 13), (365, 1, None)],
)
def test_more_candidates_than_share_alpha_are_doubted(every_days: float, candidates: int, needed: int | None) -> None:
    doubt = Promotion(every_days=every_days, candidates_a_year=candidates).doubt
    assert (doubt is None) == (needed is None)
    if doubt:
        assert f"after {candidates} the others of a year are refused" in doubt
        assert int(doubt.rpartition(" ")[2]) == needed
