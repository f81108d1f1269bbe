"""Policy files: what they set, and what is refused."""

from pathlib import Path

import pytest

from deploy.backtest.policies import read
from learners.evaluation.gate import Promotion
from learners.evaluation.guards.guard import GuardRails
from streams.errors import ConfigError

OURS = Promotion(every_days=4, candidates_a_year=91)


def test_what_a_file_does_not_set_is_the_pipelines(tmp_path: Path) -> None:
    (file := tmp_path / "strict.toml").write_text("alpha = 0.01\ntrials = 2\n")
    (found,) = read([file], OURS)
    assert found.name == "strict"
    assert found.promotion(OURS) == Promotion(every_days=4, candidates_a_year=91, alpha=0.01, trials=2)


def test_guard_rails_are_a_table(tmp_path: Path) -> None:
    (file := tmp_path / "rails.toml").write_text("[rails]\nchange = 0.5\n")
    (found,) = read([file], OURS)
    assert found.promotion(OURS).rails == GuardRails(change=0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tria = 2", "no parameter 'tria'; did you mean 'trials'"),
        ("alpha = 1.5", "alpha must be above 0 and below 1, got 1.5"),
        ("alpha = 'low'", "alpha must be"),
        ("every_days = 7", "the candidates on record were made by every_days = 4"),
        ("drift_a_year = 7", "the candidates on record were made by drift_a_year = 12"),
        ("guards = []", "no parameter 'guards'"),
        ("rails = 7", "rails must be a table"),
        ("[rails]\nchange = 7", "GuardRails.change must be at least 0"),
        ("alpha 1", "not TOML"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    (file := tmp_path / "odd.toml").write_text(text)
    with pytest.raises(ConfigError, match=said) as wrong:
        read([file], OURS)
    assert str(file) in str(wrong.value)


def test_two_policies_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.toml").write_text("")
    with pytest.raises(ConfigError, match="another policy file is named one"):
        read([tmp_path / "a" / "one.toml", tmp_path / "b" / "one.toml"], OURS)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*gone.toml"):
        read([tmp_path / "gone.toml"], OURS)
