"""Each recipe of a published run against a table of what was published, typed from the publications' figures."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.paths import configs_folder
from videomae_train.config.schema import FinetuneConfig, PretrainConfig
from videomae_train.config.steps import step_plan
from videomae_train.data.options import EvaluationDataOptions
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining

GOLDEN = Path(__file__).parent.parent / "golden"
RECIPES = configs_folder() / "experiment"


def read_table(name: str) -> dict[str, dict[str, str]]:
    lines = [line.split() for line in (GOLDEN / name).read_text().splitlines() if not line.startswith("#")]
    header, rows = lines[0], lines[1:]
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


PRETRAINING = read_table("published_pretraining.txt")
FINETUNING = read_table("published_finetuning.txt")
MODEL_OF_WEIGHTS = {"vits": "small", "vitb": "base", "vitl": "large_v2", "vith": "huge_v2", "vitg": "giant"}


def head_of(recipe: str) -> list[str]:
    lines = (RECIPES / f"{recipe}.yaml").read_text().splitlines()
    return [line.removeprefix("# ") for line in lines if line.startswith("# ")]


def machine_of(recipe: str) -> list[str]:
    """The machine that the recipe's head names, as overrides."""
    found = re.search(r": (trainer=ddp.*)", head_of(recipe)[2])
    assert found, recipe
    return found.group(1).split()


def paths_of(recipe: str) -> list[str]:
    """The paths that the command in the recipe's head gives."""
    found = re.findall(r"(data\.\S*path)=\$[A-Z]+", head_of(recipe)[1])
    assert found, recipe
    return [f"{key}=x" for key in found]


def load_pretraining(recipe: str) -> PretrainConfig:
    overrides = [f"experiment={recipe}", *machine_of(recipe), *paths_of(recipe), "run=x"]
    mapping = compose_config("pretrain", overrides)
    return load_config("pretrain", mapping, PretrainConfig)


def load_finetuning(recipe: str) -> FinetuneConfig:
    model = MODEL_OF_WEIGHTS[recipe.split("_")[1]]
    overrides = [f"experiment={recipe}", f"model={model}", *machine_of(recipe), "data.path=x", "run=x"]
    return load_config("finetune", compose_config("finetune", overrides), FinetuneConfig)


def compare(resolved: dict[str, Any], published: dict[str, str]) -> None:
    assert set(resolved) == set(published) - {"recipe", "params", "model"}
    for name, value in resolved.items():
        wanted = published[name]
        if isinstance(value, float | int) and not isinstance(value, bool):
            assert value == pytest.approx(float(wanted), rel=1e-12), name
        else:
            assert {None: "-", True: "yes", False: "no"}.get(value, value) == wanted, name


def common_row(config: PretrainConfig | FinetuneConfig) -> dict[str, Any]:
    plan = step_plan(config, num_videos=240_436)
    assert plan.accumulation == 1, "the machine of the recipe's head takes a whole step at once"
    return {
        "gpus": config.trainer.world_size,
        "per_gpu": config.trainer.micro_batch,
        "global": config.optim.global_batch,
        "base": config.optim.base_lr,
        "effective": plan.schedule.peak,
        "epochs": config.optim.epochs,
        "warmup": config.optim.warmup_epochs,
        "views": config.data.views,
        "clip": config.optim.clip_grad_norm,
        "flip": config.data.flip,
    }


def strides_of(config: PretrainConfig) -> int | str:
    """The stride, or those of several sets in the order of their names."""
    if config.data.sets is None:
        assert config.data.stride is not None
        return config.data.stride
    return ",".join(str(member.stride) for _, member in sorted(config.data.sets.items()))


def evaluation_of(recipe: str) -> EvaluationDataOptions:
    """The evaluation that the recipe's head names."""
    (command,) = [line for line in head_of(recipe) if "videomae evaluate " in line]
    words = command.partition("videomae evaluate ")[2].split()
    mapping = compose_config(
        "evaluate", [word for word in words if "$" not in word] + ["data.path=x", "weights=x"]
    )
    options: Any = OmegaConf.to_container(mapping.data)
    return EvaluationDataOptions(**options, num_frames=16, size=224)


@pytest.mark.parametrize("recipe", PRETRAINING)
def test_pretraining__resolves_to_what_was_published(recipe: str) -> None:
    config, published = load_pretraining(recipe), PRETRAINING[recipe]
    decode = config.masking.decode
    row = common_row(config) | {
        "stride": strides_of(config),
        "checkpointing": config.trainer.activation_checkpointing,
        "ratio": config.masking.ratio,
        "decode": decode.ratio if decode.name == "running_cell" else decode.name,
        "blocks": config.model.decoder_num_hidden_layers,
        "width": config.model.decoder_hidden_size,
    }
    compare(row, published)
    optim = config.optim
    assert (optim.name, optim.betas, optim.eps) == ("adamw", (0.9, 0.95), 1e-8)
    assert (optim.weight_decay, optim.layer_decay, optim.min_lr) == (0.05, 1.0, 1e-5)
    assert (config.masking.name, config.data.crop) == ("tube", "multi_scale_corner")
    assert config.model.norm_pix_loss
    check_one_rank(config)
    with torch.device("meta"):
        model = VideoMAEForPreTraining(config.model)
    assert sum(weight.numel() for weight in model.parameters()) == int(published["params"])
    assert config.model == load_model(published["model"])


@cache
def load_model(name: str) -> VideoMAEConfig:
    mapping = compose_config("pretrain", [f"model={name}", "data.path=x", "run=x"])
    return load_config("pretrain", mapping, PretrainConfig).model


@pytest.mark.parametrize("recipe", FINETUNING)
def test_finetuning__resolves_to_what_was_published(recipe: str) -> None:
    config, views = load_finetuning(recipe), evaluation_of(recipe)
    row = common_row(config) | {
        "min": step_plan(config, num_videos=240_436).schedule.floor,
        "decay": config.optim.layer_decay,
        "path": config.head.drop_path_rate,
        "head": config.head.head_dropout,
        "weight": config.optim.weight_decay,
        "stride": config.data.stride,
        "windows": config.data.windows,
        "evaluation": f"{views.num_clips}x{views.num_crops}",
    }
    compare(row, FINETUNING[recipe])
    optim, mix = config.optim, config.mix
    assert (optim.name, optim.betas, optim.eps) == ("adamw", (0.9, 0.999), 1e-8)
    assert (mix.mixup_alpha, mix.cutmix_alpha, mix.label_smoothing) == (0.8, 1.0, 0.1)
    assert config.head.head_init_scale == 0.001
    data = config.data
    assert (data.crop, data.crop_resampling) == ("random_resized", "float_no_antialias")
    assert (data.randaugment, data.erase_probability) == ("rand-m7-n4-mstd0.5-inc1", 0.25)
    assert (data.view_jitter_frames, config.optim.ema_decay) == (0, None)
    assert (views.selection, views.stride, views.antialias) == (data.val_selection, data.stride, False)
    check_one_rank(config)


def check_one_rank(config: PretrainConfig | FinetuneConfig) -> None:
    """The same global batch and rates on one small machine, through accumulation."""
    small = replace(config.trainer, devices=1, num_nodes=1, micro_batch=1)
    plan = step_plan(config.model_copy(update={"trainer": small}), num_videos=240_436)
    published = step_plan(config, num_videos=240_436)
    assert plan.accumulation == config.optim.global_batch
    assert (plan.schedule, plan.total_steps) == (published.schedule, published.total_steps)


def test_table__has_every_recipe_of_a_published_run() -> None:
    shipped = {file.stem for file in RECIPES.glob("*_vit*.yaml")}
    assert shipped == set(PRETRAINING) | set(FINETUNING)


@pytest.mark.parametrize("recipe", [*PRETRAINING, *FINETUNING])
def test_head__says_command_machine_source_and_partner(recipe: str) -> None:
    head = head_of(recipe)
    verb = recipe.split("_")[0]
    assert head[1].startswith(f"videomae {verb} experiment={recipe} ")
    text = " ".join(head)
    assert "ublished: " in text or "Ours" in text
    partners = re.findall(r"\b(?:pretrain|finetune)_vit\w+", text)
    assert all((RECIPES / f"{partner}.yaml").is_file() for partner in partners)
    assert set(partners) - {recipe}, "the recipe before or after this one"


def test_docs__name_every_recipe() -> None:
    text = (RECIPES.parent.parent / "docs" / "recipes.md").read_text()
    assert [recipe for recipe in [*PRETRAINING, *FINETUNING] if f"`{recipe}`" not in text] == []
