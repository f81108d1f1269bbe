"""A run's first version: made once, said, and on the board with its live experts before anybody serves."""

import secrets
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deploy.learning.bootstrap import bootstrap
from deploy.pipeline import Pipeline
from deploy.registry.kinds import CHAMPIONS, LEARNER
from deploy.registry.registry import Registry
from deploy.run.running import first_version
from deploy.serving.live import Followed
from streams.join.store import Store
from tests import small
from tests.integration.learning.test_begun import SHOP, Visit


@pytest.fixture
def shop() -> Pipeline:
    return replace(SHOP, name=secrets.token_hex(4))


def test_a_first_version_is_made_once_and_only_then_said(tmp_path: Path, embedded_store: Store) -> None:
    registry, untrained = Registry(tmp_path), replace(small.pipeline, history=None)
    first: list[str] = []
    first_version(untrained, registry, embedded_store, first.append)
    assert first == ["making the first version"]
    assert registry.last(CHAMPIONS) == 0
    second: list[str] = []
    first_version(small.pipeline, registry, embedded_store, second.append, again=True)
    assert second == ["v0 serves, as before"]


def test_the_first_answer_is_of_the_live_experts_too(tmp_path: Path, embedded_store: Store, shop: Pipeline) -> None:
    """Servers begin before the learner does: what they follow is there already."""
    first_version(shop, Registry(tmp_path), embedded_store, lambda _: None)
    assert experts_of_the_first_answer(shop, embedded_store)


def test_so_is_that_of_a_version_that_was_imported(tmp_path: Path, embedded_store: Store, shop: Pipeline) -> None:
    registry = Registry(tmp_path)
    bootstrap(shop, registry)
    first_version(shop, registry, embedded_store, lambda _: None)
    assert experts_of_the_first_answer(shop, embedded_store)


def test_nobody_is_told_of_a_learner_that_begins_as_another_one(
    tmp_path: Path, embedded_store: Store, shop: Pipeline
) -> None:
    registry = Registry(tmp_path)
    bootstrap(shop, registry)
    first_version(shop, registry, embedded_store, lambda _: None, again=True)
    assert embedded_store.get(shop.name, LEARNER.name) == [None]


def experts_of_the_first_answer(pipeline: Pipeline, store: Store) -> tuple[float | None, ...]:
    """Return what the experts say by whom a server answers its first request."""
    followed = Followed(pipeline, store)
    followed.refresh()
    return followed.answer([Visit((0.1, 0.2, 0.3, 0.4))], torch.zeros(1, 1)).experts[0]
