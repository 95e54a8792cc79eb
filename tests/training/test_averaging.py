import torch
from torch import nn

from videomae_train.training.averaging import WeightAverage


def test_average__goes_into_a_model_that_has_moved_to_another_device() -> None:
    """Lightning moves it to the CPU at the end: the parameters stay, and their memory is another."""
    model = nn.Linear(2, 2)
    average = WeightAverage(model, decay=0.5)
    began = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    average.update(torch.tensor(1.0))
    model._apply(lambda tensor: tensor.clone())
    with average.in_place():
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter, began[name] + 0.5)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, began[name] + 1.0), "its own again"
