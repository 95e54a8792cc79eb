"""Every shipped YAML composes, validates and builds; none starts without saying what it is."""

from pathlib import Path

import pytest
import torch

from videomae_train.config.knn import NeighboursConfig
from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.paths import configs_folder
from videomae_train.config.schema import EvaluateConfig, FinetuneConfig, PretrainConfig, ReconstructConfig
from videomae_train.errors import ConfigError
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, save_weights_folder

FILES = sorted(configs_folder().rglob("*.yaml"))
SMALL = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=48, decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=24,
)  # fmt: skip


def choices(group: str) -> list[str]:
    return sorted(file.stem for file in (configs_folder() / group).glob("*.yaml"))


def recipes(verb: str) -> list[str]:
    """Those of our own; test_published_recipes.py holds the published ones."""
    return [name for name in choices("experiment") if name.startswith(verb) and "_vit" not in name]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "model"
    save_weights_folder(VideoMAEForPreTraining(SMALL), folder, card="# test")
    return folder


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(configs_folder())))
def test_yaml__begins_by_saying_what_it_is(file: Path) -> None:
    comment = [line for line in file.read_text().splitlines() if not line.startswith("# @package")]
    assert comment[0].startswith("# "), file


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(configs_folder())))
def test_yaml__names_no_class_of_ours(file: Path) -> None:
    assert "_target_" not in file.read_text()


@pytest.mark.parametrize(
    "override",
    [
        f"{group}={name}"
        for group in ("model", "masking", "masking/decode", "trainer", "logger")
        for name in choices(group)
        if (group, name) != ("masking", "own")  # tests/end_to_end/test_extending_page.py
    ]
    + [f"experiment={name}" for name in recipes("pretrain")]
    + [f"data={name}" for name in choices("data") if name in ("pretrain", "pretrain_something")],
)
def test_pretrain__every_choice_validates(override: str, packed_motions: Path) -> None:
    config = load_config(
        "pretrain",
        compose_config("pretrain", [override, f"data.path={packed_motions}", "run=somewhere"]),
        PretrainConfig,
    )
    assert config.data.num_frames == config.model.num_frames
    assert config.data.size == config.model.image_size
    config.masking.counts(config.model.grid)


def test_pretrain__hybrid_data_validates(packed_motions: Path) -> None:
    paths = [f"data.sets.{name}.path={packed_motions}" for name in ("kinetics", "something")]
    config = load_config(
        "pretrain",
        compose_config("pretrain", ["data=pretrain_hybrid", *paths, "run=somewhere"]),
        PretrainConfig,
    )
    assert {name: member.stride for name, member in config.data.members.items()} == {
        "kinetics": 4,
        "something": 2,
    }


@pytest.mark.parametrize("name", choices("model"))
def test_model__every_size_builds_with_the_parameters_it_states(name: str) -> None:
    mapping = compose_config("pretrain", [f"model={name}", "data.path=x", "run=somewhere"])
    config = load_config("pretrain", mapping, PretrainConfig)
    with torch.device("meta"):
        model = VideoMAEForPreTraining(config.model)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert f"{count:,}" in (configs_folder() / "model" / f"{name}.yaml").read_text().splitlines()[0]


@pytest.mark.parametrize(
    "overrides",
    [
        *([f"data={name}"] for name in choices("data") if name.startswith("finetune")),
        *([f"experiment={name}"] for name in recipes("finetune")),
    ],
)
def test_finetune__every_recipe_validates_with_weights_and_from_scratch(
    overrides: list[str], weights: Path, packed_motions: Path
) -> None:
    for source in (f"weights={weights}", "model=tiny"):
        mapping = compose_config(
            "finetune", [*overrides, source, f"data.path={packed_motions}", "run=somewhere"]
        )
        config = load_config("finetune", mapping, FinetuneConfig)
        assert config.data.num_frames == config.source.num_frames


TRAINED_PROBES = [name for name in choices("probe") if name != "knn"]


@pytest.mark.parametrize("name", TRAINED_PROBES)
@pytest.mark.parametrize(
    "data", ["data=finetune", "data=finetune_something", *(f"experiment={name}" for name in recipes("probe"))]
)
def test_probe__every_choice_validates_with_weights_and_from_scratch(
    name: str, data: str, weights: Path, packed_motions: Path
) -> None:
    for source in (f"weights={weights}", "model=tiny"):
        given = [f"probe={name}", data, source, f"data.path={packed_motions}", "run=somewhere"]
        config = load_config("probe", compose_config("probe", given), FinetuneConfig)
        # A probe of whatever the encoder was, not of what augmentation or decay make of it.
        assert config.frozen_blocks == "all"
        assert not config.mix.mixes
        assert (config.mix.label_smoothing, config.head.drop_path_rate, config.data.randaugment) == (
            0,
            0,
            None,
        )


def test_probes__resolve_to_what_was_published() -> None:
    """MAE, appendix A.1, with SGD instead of LARS; V-JEPA, frozen evaluation."""
    rows = {}
    for name in TRAINED_PROBES:
        mapping = compose_config("probe", [f"probe={name}", "model=base", "data.path=x", "run=x"])
        optim = load_config("probe", mapping, FinetuneConfig).optim
        rows[name] = (
            optim.name,
            optim.base_lr,
            optim.min_lr,
            optim.weight_decay,
            optim.epochs,
            optim.warmup_epochs,
        )
    assert rows == {"linear": ("sgd", 0.1, 0, 0, 90, 10), "attentive": ("adamw", 1e-3, 0, 0.01, 20, 0)}


def test_probe_knn__validates_and_has_nothing_that_it_would_ignore(weights: Path) -> None:
    mapping = compose_config("probe", ["probe=knn", f"weights={weights}", "data.path=x", "run=somewhere"])
    config = load_config("probe", mapping, NeighboursConfig)
    assert (config.knn.neighbours, config.knn.temperature, config.data.num_frames) == (20, 0.07, 4)
    for ignored in ("optim.steps=1", "mix.mixup_alpha=0", "seed=1", "frozen_blocks=1"):
        with pytest.raises(ConfigError, match="unknown key"):
            compose_config("probe", ["probe=knn", ignored])


def test_evaluate_and_reconstruct__validate(weights: Path) -> None:
    of_five = ("evaluate", "evaluate_kinetics", "evaluate_ucf101", "evaluate_hmdb51")
    num_clips = {**dict.fromkeys(of_five, 5), "evaluate_something": 2, "evaluate_1x1": 1}
    for name in (name for name in choices("data") if name.startswith("evaluate")):
        given = [f"data={name}", f"weights={weights}", "data.path=x", "run=somewhere"]
        mapping = compose_config("evaluate", given)
        assert load_config("evaluate", mapping, EvaluateConfig).data.num_clips == num_clips[name]
    mapping = compose_config("reconstruct", [f"weights={weights}", "video=x.mp4", "run=somewhere"])
    assert load_config("reconstruct", mapping, ReconstructConfig).patch_statistics == "estimated"
