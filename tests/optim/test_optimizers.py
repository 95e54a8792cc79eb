from dataclasses import replace

import pytest
import torch
from torch import nn

from videomae_train.errors import ConfigError
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae_train.optim import OptimizerOptions, build_optimizer, check_optimizer, set_learning_rate

CONFIG = VideoMAEConfig(
    image_size=16, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=12, num_attention_heads=2,
    intermediate_size=48, decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=24,
)  # fmt: skip


def groups_by_name(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, float]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}


def test_weight_decay__spares_vectors_and_the_mask_token_and_nothing_else() -> None:
    model = VideoMAEForPreTraining(CONFIG)
    options = OptimizerOptions("adamw", (0.9, 0.95), 1e-8, 0.05, 1.0)
    groups = groups_by_name(model, build_optimizer(model, model.no_weight_decay(), options, peak_lr=1e-3))
    parameters = dict(model.named_parameters())
    assert groups.keys() == parameters.keys()
    for name, parameter in parameters.items():
        spared = parameter.ndim <= 1 or name == "mask_token"
        assert groups[name]["weight_decay"] == (0.0 if spared else 0.05), name
    assert groups["encoder_to_decoder.weight"]["weight_decay"] == 0.05


def test_layer_decay__has_the_published_scales() -> None:
    model = VideoMAEForVideoClassification(CONFIG.with_labels(3))
    options = OptimizerOptions("adamw", (0.9, 0.999), 1e-8, 0.05, 0.75)
    optimizer = build_optimizer(model, model.no_weight_decay(), options, peak_lr=1e-3)
    set_learning_rate(optimizer, 2.0)
    groups = groups_by_name(model, optimizer)
    depth = CONFIG.num_hidden_layers
    for name, group in groups.items():
        layer = depth + 1
        if "patch_embed" in name:
            layer = 0
        elif "blocks." in name:
            layer = int(name.split("blocks.")[1].split(".")[0]) + 1
        assert abs(group["lr"] - 2.0 * 0.75 ** (depth + 1 - layer)) < 1e-12, name
    assert round(min(group["lr"] for group in groups.values()) / 2, 6) == 0.023757


def test_adamw__gets_its_constants() -> None:
    model = VideoMAEForPreTraining(CONFIG)
    options = OptimizerOptions("adamw", (0.9, 0.95), 1e-7, 0.05, 1.0)
    optimizer = build_optimizer(model, model.no_weight_decay(), options, peak_lr=1e-3)
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.defaults["betas"] == (0.9, 0.95)
    assert optimizer.defaults["eps"] == 1e-7


OWN_CONSTANTS = OptimizerOptions("adamw", None, None, 0.05, 1.0)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "momentum", "adagrad"])
def test_optimisers_of_torch__are_fused_on_every_device(name: str) -> None:
    model = nn.Linear(3, 3)
    optimizer = build_optimizer(model, (), replace(OWN_CONSTANTS, name=name), peak_lr=1e-3)
    assert optimizer.defaults["fused"] is True


# With own betas, three betas, group counters, matrix updates, and weight decay related to the peak.
@pytest.mark.parametrize("name", ["sgd", "lion", "lamb", "adan", "adafactor", "muon", "adamc", "madgrad"])
def test_optimisers_of_timm__step_with_constants_of_their_own_and_rest_without_gradients(name: str) -> None:
    model = VideoMAEForPreTraining(replace(CONFIG, num_hidden_layers=1))
    options = replace(OWN_CONSTANTS, name=name)
    optimizer = build_optimizer(model, model.no_weight_decay(), options, peak_lr=1e-3)
    set_learning_rate(optimizer, 1e-3)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    optimizer.step()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    assert not any(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_corrected_weight_decay__knows_each_groups_own_peak() -> None:
    model = VideoMAEForVideoClassification(replace(CONFIG, num_hidden_layers=2).with_labels(3))
    options = replace(OWN_CONSTANTS, name="adamc", layer_decay=0.5)
    optimizer = build_optimizer(model, model.no_weight_decay(), options, peak_lr=0.8)
    assert {group["lr"] for group in optimizer.param_groups} == {0.8, 0.4, 0.2, 0.1}


def test_unknown_name__is_an_error_with_close_matches() -> None:
    with pytest.raises(ConfigError, match=r"optim\.name: 'adamv'; expected .* did you mean .*adamw"):
        check_optimizer(replace(OWN_CONSTANTS, name="adamv"))


@pytest.mark.parametrize("name", ["fusedadam", "bnbadam8bit", "adahessian", "ADAMW"])
def test_optimiser_that_the_loop_cannot_drive__is_not_offered(name: str) -> None:
    with pytest.raises(ConfigError, match=r"optim\.name"):
        check_optimizer(replace(OWN_CONSTANTS, name=name))


@pytest.mark.parametrize(
    ("name", "constant", "value", "expected"),
    [
        ("sgd", "betas", (0.9, 0.95), "it has no such constant"),
        ("lion", "eps", 1e-8, "it has no such constant"),
        ("adan", "betas", (0.9, 0.95), "its own 3"),
    ],
)
def test_constant_that_the_optimiser_does_not_have__is_refused(
    name: str, constant: str, value: object, expected: str
) -> None:
    options = replace(OWN_CONSTANTS, name=name, **{constant: value})
    with pytest.raises(ConfigError, match=rf"optim\.{constant}: .* for {name}; expected null.*{expected}"):
        check_optimizer(options)
