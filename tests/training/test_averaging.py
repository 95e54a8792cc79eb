import pytest
import torch
from torch import nn

from videomae_train.training.averaging import WeightAverage


def test_average__goes_into_a_model_that_has_moved_to_another_device() -> None:
    """Lightning moves it to the CPU at the end: the parameters stay, and their memory is another."""
    model = nn.Linear(2, 2)
    average = WeightAverage(model, decay=2 / 11)  # what the first update has anyhow
    began = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    average.update(torch.tensor(1.0))
    model._apply(lambda tensor: tensor.clone())
    with average.in_place():
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter, began[name] + 9 / 11)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, began[name] + 1.0), "its own again"


def constant(decay: float, initial: float, weights: float, steps: int) -> float:
    """The average after so many steps that all end in the same weights."""
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.fill_(initial)
    average = WeightAverage(model, decay)
    with torch.no_grad():
        model.weight.fill_(weights)
    for _ in range(steps):
        average.update(torch.tensor(1.0))
    return average.state_dict()["weight"].item()


@pytest.mark.parametrize("decay", [0.9, 0.999, 0.9999, 0.99999])
@pytest.mark.parametrize("steps", [30, 100, 1000])
def test_initial_weights__are_soon_forgotten_however_slow_the_average(decay: float, steps: int) -> None:
    """A run of thousands of steps would else leave a fresh head that is mostly its initial values."""
    assert constant(decay, initial=1.0, weights=0.0, steps=steps) < 1e-6


def test_decay__rises_to_the_one_asked_for_and_stays() -> None:
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    average = WeightAverage(model, 0.75)
    expected = model.weight.item()
    for number in range(1, 41):
        with torch.no_grad():
            model.weight.fill_(number)
        average.update(torch.tensor(1.0))
        decay = min(0.75, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * number
        assert average.state_dict()["weight"].item() == pytest.approx(expected, rel=1e-12)


def test_step_that_was_held_back__is_none_of_the_warm_up() -> None:
    model = nn.Linear(1, 1)
    held, without = WeightAverage(model, 0.9), WeightAverage(model, 0.9)
    with torch.no_grad():
        model.weight.add_(1.0)
    for went in (1.0, 0.0, 1.0):
        held.update(torch.tensor(went))
    for _ in range(2):
        without.update(torch.tensor(1.0))
    for name, average in held.state_dict().items():
        assert torch.equal(average, without.state_dict()[name])


def test_going_on__is_as_if_it_had_not_stopped() -> None:
    model = nn.Linear(2, 2)
    straight, first, second = (WeightAverage(model, 0.99) for _ in range(3))
    for number in range(8):
        with torch.no_grad():
            model.weight.add_(1.0)
        straight.update(torch.tensor(1.0))
        if number == 4:
            second.load_state_dict(first.state_dict(), updates=4)
        (first if number < 4 else second).update(torch.tensor(1.0))
    for name, average in straight.state_dict().items():
        assert torch.equal(average, second.state_dict()[name])
