import torch
from torch import nn

from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae_train.optim import OptimizerOptions, build_optimizer, set_learning_rate

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
    groups = groups_by_name(model, build_optimizer(model, model.no_weight_decay(), options))
    parameters = dict(model.named_parameters())
    assert groups.keys() == parameters.keys()
    for name, parameter in parameters.items():
        spared = parameter.ndim <= 1 or name == "mask_token"
        assert groups[name]["weight_decay"] == (0.0 if spared else 0.05), name
    assert groups["encoder_to_decoder.weight"]["weight_decay"] == 0.05


def test_layer_decay__has_the_published_scales() -> None:
    model = VideoMAEForVideoClassification(CONFIG.with_labels(3))
    options = OptimizerOptions("adamw", (0.9, 0.999), 1e-8, 0.05, 0.75)
    optimizer = build_optimizer(model, model.no_weight_decay(), options)
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
    optimizer = build_optimizer(model, model.no_weight_decay(), options)
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.defaults["betas"] == (0.9, 0.95)
    assert optimizer.defaults["eps"] == 1e-7
