from dataclasses import replace

import pytest
import torch
from torch import nn

from videomae_train.optim import OptimizerOptions, build_optimizer
from videomae_train.training.gating import Skips, StepGate, tie_to_gradient


def take_steps(gate: StepGate, norms: list[float]) -> list[float]:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    return [float(gate.step(optimizer, optimizer.step, torch.tensor(norm))) for norm in norms]


def test_counts__are_of_the_run_and_in_a_row() -> None:
    gate, nan, inf = StepGate(torch.device("cpu")), float("nan"), float("inf")
    assert take_steps(gate, [1.0, nan, inf]) == [1.0, 0.0, 0.0]
    assert gate.read() == Skips(num_skipped=2, in_a_row=2)
    assert take_steps(gate, [1.0, nan]) == [1.0, 0.0]
    assert gate.read() == Skips(num_skipped=3, in_a_row=1)


def test_counts__go_on_from_a_checkpoint() -> None:
    gate = StepGate(torch.device("cpu"))
    gate.restore(Skips(5, 2))
    take_steps(gate, [float("nan")])
    assert gate.read() == Skips(6, 3)


def test_tied_loss__is_the_same_to_the_bit_where_it_is_finite() -> None:
    weight = torch.tensor(0.3, requires_grad=True)
    loss = weight * 3.1
    tied = tie_to_gradient(loss)
    assert torch.equal(tied, loss)
    assert torch.autograd.grad(tied, weight) == torch.autograd.grad(weight * 3.1, weight)


def test_tied_loss__makes_the_gradient_nan_where_it_is_not() -> None:
    weight = torch.tensor(0.3, requires_grad=True)
    for bad in (float("inf"), float("-inf"), float("nan")):
        (gradient,) = torch.autograd.grad(tie_to_gradient(weight * 3.1 + bad), weight)
        assert bool(gradient.isnan())


OWN_CONSTANTS = OptimizerOptions("adamw", None, None, 0.05, 1.0)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "momentum", "adagrad", "lion", "lamb"])
def test_step_that_is_held_back__leaves_no_trace(name: str) -> None:
    """Also the first: those after it are to the bit the ones of an optimiser that never saw it."""
    trained: list[torch.Tensor] = []
    for norms in ([float("inf"), 1.0, 1.0], [1.0, float("inf"), 1.0], [1.0, 1.0]):
        torch.manual_seed(0)
        layer, gate = nn.Linear(64, 64), StepGate(torch.device("cpu"))
        optimizer = build_optimizer(layer, (), replace(OWN_CONSTANTS, name=name), peak_lr=1e-2)
        for norm in norms:
            for parameter in layer.parameters():
                parameter.grad = torch.full_like(parameter, norm)
            gate.step(optimizer, optimizer.step, torch.tensor(norm))
        trained.append(layer.weight.detach())
    assert torch.equal(trained[0], trained[2])
    assert torch.equal(trained[1], trained[2])


def test_momentum_from_zero__gives_the_steps_of_torchs_own() -> None:
    trained: list[torch.Tensor] = []
    for own in (True, False):
        torch.manual_seed(0)
        layer = nn.Linear(8, 8)
        optimizer = build_optimizer(layer, (), replace(OWN_CONSTANTS, name="sgd"), peak_lr=1e-2)
        if own:
            optimizer.state.clear()
        for step in range(3):
            for parameter in layer.parameters():
                parameter.grad = torch.randn_like(parameter) * (step + 1)
            optimizer.step()
        trained.append(layer.weight.detach())
    assert torch.equal(*trained)
