"""Bandits: estimates that are right on average, learning from another's choices, and what a sample tells."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from torch import Tensor

from learners.online.batches import completed
from learners.tasks.bandit import Bandit
from shadowstream import Binary, ConfigError, MalformedEvent
from streams.events import Prediction, Sample
from tests import small
from tests.clicks import record

REWARDS = torch.tensor([0.9, 0.4, 0.6], dtype=torch.float64)  # of three actions
LOGGED = torch.tensor([0.2, 0.7, 0.1], dtype=torch.float64)  # how likely each was taken
ESTIMATES = torch.tensor([0.8, 0.45, 0.5], dtype=torch.float64)
IPS, ROBUST = Bandit(3, baseline=0.0), Bandit(3, doubly_robust=True)


def told(task: Bandit, reward: float, action: int) -> list[float]:
    known = ESTIMATES.tolist() if task.doubly_robust else []
    return [reward, float(action), float(LOGGED[action]), *known]


def estimates(task: Bandit, output: Tensor) -> Tensor:
    """Return what an outcome of each action makes of the policy's reward, if its reward is its mean."""
    targets = torch.tensor([told(task, float(REWARDS[k]), k) for k in range(3)], dtype=torch.float64)
    losses = task.losses(output.expand(3, -1), targets)
    if task.doubly_robust:
        losses = losses - 0.5 * (REWARDS - output[0, 3:]) ** 2
    return -losses


@pytest.mark.parametrize("task", [IPS, ROBUST])
def test_on_average_over_the_choices_the_loss_is_minus_the_policy_s_reward(task: Bandit) -> None:
    output = torch.randn(1, task.outputs, dtype=torch.float64)
    value = float((task.policy(output) * REWARDS).sum())
    assert float((LOGGED * estimates(task, output)).sum()) == pytest.approx(value)


def test_a_baseline_moves_no_average_but_by_itself() -> None:
    output, around = torch.randn(1, 3, dtype=torch.float64), Bandit(3)
    value = float((around.policy(output) * REWARDS).sum())
    assert float((LOGGED * estimates(around, output)).sum()) == pytest.approx(value - 0.5)


def test_estimates_that_are_nearly_right_make_the_loss_calmer() -> None:
    for seed in range(5):
        output = torch.randn(1, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        plain, robust = estimates(IPS, output[:, :3]), estimates(ROBUST, output)
        assert float((LOGGED * (robust - (LOGGED * robust).sum()) ** 2).sum()) < 0.1 * float(
            (LOGGED * (plain - (LOGGED * plain).sum()) ** 2).sum()
        )


def test_a_weight_is_clipped_and_rewards_are_shares_of_their_range() -> None:
    task, output = Bandit(2, rewards=(-10, 10), baseline=-10.0, explore=0.0), torch.zeros(2, 2)
    target = torch.tensor([task.target({"action": 1, "reward": 10, "propensity": p}) for p in (0.5, 0.001)])
    assert (-task.losses(output, target)).tolist() == [1.0, 5.0]


def policy_learned(task: Bandit, told_propensity: bool) -> Tensor:
    """Return the policy (3,) that gradient descent finds from logged choices of three actions, without features."""
    chance = torch.Generator().manual_seed(0)
    actions = torch.multinomial(LOGGED, 2_000, replacement=True, generator=chance)
    brought = (torch.rand(2_000, generator=chance, dtype=torch.float64) < REWARDS[actions]).double()
    rows = [told(task, r, a) for r, a in zip(brought.tolist(), actions.tolist(), strict=True)]
    target = torch.tensor(rows, dtype=torch.float64)
    if not told_propensity:
        target[:, 2] = 1.0
    output = torch.zeros(1, task.outputs, dtype=torch.float64, requires_grad=True)
    for _ in range(200):
        (slope,) = torch.autograd.grad(task.losses(output.expand(len(target), -1), target).mean(), output)
        output = (output - 2.0 * slope).detach().requires_grad_()
    return task.policy(output.detach())[0]


@pytest.mark.parametrize("task", [Bandit(3, baseline=0.4), ROBUST])
def test_the_best_action_is_found_though_another_was_usual(task: Bandit) -> None:
    assert float(policy_learned(task, told_propensity=True)[0]) > 0.9


def test_without_propensities_the_usual_action_is_taken_for_the_best() -> None:
    rare_and_good = policy_learned(IPS, told_propensity=True)
    usual = policy_learned(IPS, told_propensity=False)
    assert float(rare_and_good[0]) > 0.9 > float(usual[0])


@given(data=st.data())
def test_the_worst_gap_bounds_the_difference_for_any_choice_reward_and_estimate(data: st.DataObject) -> None:
    task = data.draw(st.sampled_from([IPS, Bandit(3, baseline=0.7, clip=3.0), ROBUST]))
    z, share = st.floats(-5, 5), st.floats(0, 1)
    ours, theirs = (torch.tensor([[data.draw(z) for _ in range(task.outputs)]]).double() for _ in range(2))
    row = [data.draw(share), float(data.draw(st.integers(0, 2))), data.draw(st.floats(0.01, 1))]
    row += [data.draw(share) for _ in range(task.outputs - 3)]
    target = torch.tensor([row], dtype=torch.float64)
    assert float(task.losses(ours, target) - task.losses(theirs, target)) <= float(task.worst_gap(ours, theirs)) + 1e-9


def sample(task: Bandit, label: Any, served: list[float], **features: Any) -> Sample:
    asked = Prediction("a", 5, 0, tuple(served), (0.0,) * task.outputs, 0, Raw(msgspec.json.encode(features)))
    return Sample("a", "joined", 0, 5, task.target(label), 6, asked)


def test_a_propensity_that_is_not_told_is_that_of_what_was_served() -> None:
    task = Bandit(("red", "blue"), explore=0.2)
    (whole,) = completed([sample(task, {"action": "blue", "reward": 1}, [0.0, 1.0])], task)
    assert whole.label == pytest.approx((1.0, 1.0, 0.8 * 0.7310586 + 0.1))
    assert completed([whole], task) == [whole]
    known = sample(task, {"action": "blue", "reward": 1, "propensity": 0.3}, [0.0, 1.0])
    assert completed([known], task) == [known]


def test_estimates_are_those_that_were_served_within_the_range() -> None:
    task = Bandit(2, doubly_robust=True, rewards=(0.0, 10.0), baseline=4.0)
    heard = sample(task, {"action": 0, "reward": 7, "propensity": 0.5}, [0.0, 0.0, 0.25, 1.5])
    assert heard.label == (7.0, 0.0, 0.5, 4.0, 4.0)
    assert completed([heard], task)[0].label == (7.0, 0.0, 0.5, 2.5, 10.0)


def test_what_another_system_did_is_told_by_the_request() -> None:
    task = Bandit(("red", "blue"), logged=True)
    heard = sample(task, 1, [0.0, 1.0], age=31, action="blue", propensity=0.25)
    assert completed([heard], task)[0].label == (1.0, 1.0, 0.25)
    for features, said in (
        ({"age": 31}, "the request must have `action` and `propensity`, what was done: .*`action`"),
        ({"action": "green", "propensity": 0.5}, "no action is called 'green'"),
        ({"action": "blue", "propensity": 7}, "a propensity is above 0 and at most 1, got 7.0"),
    ):
        with pytest.raises(MalformedEvent, match=said):
            completed([sample(task, 1, [0.0, 1.0], **features)], task)


def test_a_sample_of_a_task_that_needs_its_label_alone_stays_as_it_is() -> None:
    samples = [sample(IPS, {"action": 0, "reward": 1, "propensity": 0.5}, [0.0] * 3)]
    assert completed(samples, Binary()) is samples


def test_an_outcome_is_read_and_one_without_an_action_refused() -> None:
    outcome = replace(small.pipeline, task=Bandit(("red", "blue"))).as_feed().outcome
    assert outcome(record(b'{"id":"a","label":{"action":"blue","reward":1}}')).body == b"[1.0,1.0,0.0]"
    with pytest.raises(MalformedEvent, match=r'a label is {"action": …, "reward": …}, got 1.0: Expected `object`'):
        outcome(record(b'{"id":"a","label":1}'))


def test_actions_are_drawn_by_the_policy_and_leave_torch_s_chance_alone() -> None:
    state, task = torch.get_rng_state(), Bandit(("red", "blue"), explore=0.0)
    answers = task.answers(torch.tensor([[0.0, 1.0]]).expand(4_000, 2))
    assert answers[0]["probabilities"] == [0.268941, 0.731059]
    assert sum(answer["action"] == "blue" for answer in answers) / 4_000 == pytest.approx(0.731, abs=0.04)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Bandit(1), "Bandit.actions must be a whole number, at least 2"),
        (lambda: Bandit(2, rewards=(1, 0)), r"Bandit.rewards must be the least and the most reward, such as \(0, 1\)"),
        (lambda: Bandit(2, rewards=5), "Bandit.rewards must be"),  # type: ignore[arg-type]
        (lambda: Bandit(2, baseline=1.5), "Bandit.baseline must be a reward, from 0 to 1, got 1.5"),
        (lambda: Bandit(2, clip=0.5), "Bandit.clip must be at least 1, got 0.5"),
        (lambda: Bandit(2, explore=2.0), "Bandit.explore must be at least 0 and at most 1, got 2.0"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()
