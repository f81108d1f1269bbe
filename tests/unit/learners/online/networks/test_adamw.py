"""AdamW, whose steps must be those of torch's own optimizer, bit for bit."""

import torch
from torch import nn

from learners.online.networks.adamw import AdamW

DECAY = 0.1


def parameters() -> list[nn.Parameter]:
    """Return parameters of two types; the last one never has a slope."""
    torch.manual_seed(0)
    kinds = (torch.float32, torch.float64, torch.float32, torch.float32)
    return [nn.Parameter(torch.randn(3, 2, dtype=kind)) for kind in kinds]


def slope(step: int, parameters: list[nn.Parameter]) -> None:
    """Give slopes; the third parameter has one at every second step."""
    torch.manual_seed(step)
    for i, parameter in enumerate(parameters[:-1]):
        slope = torch.randn(3, 2).to(parameter.dtype)
        parameter.grad = None if i == 2 and step % 2 else slope


def test_steps_are_those_of_torchs_optimizer_also_after_a_restart() -> None:
    ours, theirs = parameters(), parameters()
    optimizer, torchs = AdamW(ours, DECAY), torch.optim.AdamW(theirs, weight_decay=DECAY, fused=True)
    for step in range(20):
        for each in (ours, theirs):
            slope(step, each)
        rate, betas = 0.01 * (1 + step % 3), (0.9, 0.99 + step / 10_000)
        torchs.param_groups[0].update(lr=rate, betas=betas)
        optimizer.step(rate, betas)
        torchs.step()
        assert all(map(torch.equal, ours, theirs))
        if step == 10:
            state, optimizer = optimizer.state(), AdamW(ours, DECAY)
            optimizer.load(state)
    state = {f"{i}.{kind}": t for i, kinds in torchs.state_dict()["state"].items() for kind, t in kinds.items()}
    assert state.keys() == optimizer.state().keys()
    assert all(torch.equal(t, state[name]) for name, t in optimizer.state().items())


def test_what_grows_begins_at_zero_and_a_parameter_without_a_slope_has_no_moments() -> None:
    ours = parameters()
    optimizer, grown = AdamW(ours, DECAY), torch.tensor([[True, False]] * 3)
    slope(0, ours)
    optimizer.step(0.01, (0.9, 0.999))
    for parameter in (ours[0], ours[-1]):
        optimizer.clear(parameter, grown)
    state = optimizer.state()
    assert not any(name.startswith("3.") for name in state)
    assert not state["0.exp_avg"][:, 0].any()
    assert not state["0.exp_avg_sq"][:, 0].any()
    assert state["0.exp_avg"][:, 1].all()
    assert float(state["0.step"]) == 1
    assert state["2.exp_avg"].all()


def test_without_parameters_there_is_nothing_to_do() -> None:
    optimizer = AdamW([], DECAY)
    optimizer.step(0.01, (0.9, 0.999))
    assert optimizer.state() == {}
