from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from videomae_train.config import run_cost
from videomae_train.config.estimates import UTILISATION, Device
from videomae_train.config.explain import Explanation, explain, infer_verb
from videomae_train.config.micro_batch import _batch_to_try
from videomae_train.config.provenance import Origin
from videomae_train.config.run_cost import Cost
from videomae_train.config.schema import PretrainConfig
from videomae_train.errors import ConfigError
from videomae_train.model import VideoMAEForPreTraining, save_weights_folder
from videomae_train.types import PretrainBatch

DEVICE = Device("CPU, as these tests have it", 8 * 2**30, 1e11)
TINY = ["model=tiny", "trainer=cpu"]
SHORT = ["optim.global_batch=8", "optim.epochs=10", "optim.warmup_epochs=2", "trainer.micro_batch=2"]


@pytest.fixture(autouse=True)
def known_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the matrix products."""
    monkeypatch.setattr(run_cost, "measure_device", lambda *_, **__: DEVICE)


def value_of(explanation: Explanation, key: str) -> tuple[object, Origin]:
    (found,) = [value for value in explanation.values if value.key == key]
    return found.value, found.origin


def test_every_value__is_there_once_with_its_origin() -> None:
    found = explain("pretrain", [*TINY, "data.path=x", "masking.ratio=0.75"], num_videos=100_000)
    keys = [value.key for value in found.values]
    assert len(keys) == len(set(keys))
    assert value_of(found, "masking.ratio") == (0.75, Origin("command line"))
    assert value_of(found, "data.size") == (64, Origin("derived"))
    assert value_of(found, "model.layer_norm_eps") == (1e-6, Origin("default"))


def test_batch_and_length__as_the_run_derives_them(packed_motions: Path) -> None:
    overrides = [*TINY, *SHORT, f"data.path={packed_motions}", "data.views=3"]
    derived = explain("pretrain", overrides).derived
    assert (derived.num_videos, derived.accumulation, derived.views_per_step) == (16, 4, 24)
    assert (derived.total_steps, derived.warmup_steps) == (20, 4)
    assert derived.peak_lr == pytest.approx(1.5e-4 * 8 / 256)
    assert (derived.tokens, derived.visible, derived.decoded) == (256, 28, 228)


def test_without_data__rates_are_known_and_lengths_are_not() -> None:
    found = explain("pretrain", ["experiment=pretrain_vitb_ucf101", *TINY])
    assert found.missing == ("data.path",)
    assert value_of(found, "data.path")[0] == "???"
    derived = found.derived
    assert (derived.num_videos, derived.total_steps, derived.warmup_steps) == (None, None, None)
    assert derived.peak_lr == pytest.approx(2.25e-4)
    assert derived.accumulation == 24


def test_without_data__steps_that_are_stated_are_known() -> None:
    derived = explain("pretrain", ["experiment=pretrain_tiny"]).derived
    assert (derived.total_steps, derived.warmup_steps) == (2500, 250)


def test_number_of_videos__can_be_said() -> None:
    derived = explain("pretrain", ["experiment=pretrain_vitb_k400", *TINY], num_videos=240_436).derived
    assert derived.total_steps == 240_436 * 1600 // 2048


def test_finetuning__without_weights_shows_all_but_the_model() -> None:
    found = explain("finetune", ["experiment=finetune_vitl_k400"])
    assert found.missing == ("data.path", "weights")
    assert found.cost is None
    assert value_of(found, "model") == (None, Origin("default", "finetune.yaml"))
    assert value_of(found, "data.size") == (None, Origin("derived"))
    assert found.derived.peak_lr == pytest.approx(1e-3)
    assert found.derived.tokens is None


def test_finetuning__with_weights_counts_their_architecture(tmp_path: Path) -> None:
    config = explain("pretrain", TINY).config
    assert config.model is not None
    save_weights_folder(VideoMAEForPreTraining(config.model), tmp_path / "weights", card="# test")
    found = explain("finetune", [f"weights={tmp_path / 'weights'}", "trainer=cpu"])
    assert found.cost is not None
    # Encoder of configs/model/tiny.yaml, norm and a head for 400 classes.
    assert found.cost.counted.parameters == 1_852_992 - 2 * 192 + 2 * 192 + 192 * 400 + 400
    assert value_of(found, "data.num_frames") == (8, Origin("derived"))


def test_probe__trains_its_head_alone_and_costs_accordingly() -> None:
    short = ["model=tiny", "trainer=cpu", "optim.global_batch=16", "trainer.micro_batch=16"]
    costs = {}
    for verb, overrides in (("probe", []), ("finetune", ["data.views=1"])):
        found = explain(verb, [*short, *overrides], num_videos=1000)  # type: ignore[arg-type]
        assert found.cost is not None
        costs[verb] = found.cost
    probe, whole = costs["probe"], costs["finetune"]
    # Encoder of configs/model/tiny.yaml, a norm that does not train and a head for 400 classes that does.
    assert probe.counted.parameters == whole.counted.parameters
    assert probe.counted.trained == 192 * 400 + 400
    assert probe.memory.gradients == probe.memory.optimizer == 4 * probe.counted.trained, "SGD with momentum"
    assert probe.memory.activations < 0.01 * whole.memory.activations
    assert probe.flops_per_step == pytest.approx(whole.flops_per_step / 3, rel=0.02), "no backward pass"
    assert probe.disk.checkpoint == 4 * (probe.counted.parameters + probe.counted.trained)


def test_probe__its_values_have_origins() -> None:
    found = explain("probe", ["probe=attentive", "data=finetune_something", "frozen_blocks=10"])
    assert found.missing == ("data.path", "weights")
    assert value_of(found, "frozen_blocks") == (10, Origin("command line"))
    assert value_of(found, "optim.name") == ("adamw", Origin("group", "probe/attentive.yaml", "command line"))
    assert value_of(found, "mix.mixup_alpha") == (
        0.0,
        Origin("group", "probe/shared/trained.yaml", "default"),
    )
    assert value_of(found, "data.windows")[1].file == "data/finetune_something.yaml"


def test_probe__that_trains_nothing_has_nothing_to_explain() -> None:
    with pytest.raises(ConfigError, match="knn, which trains nothing"):
        explain("probe", ["probe=knn"])


def test_cost__follows_micro_batch_and_decoder() -> None:
    small, large = (
        explain("pretrain", [*TINY, *SHORT, f"trainer.micro_batch={micro}"]).cost for micro in (2, 4)
    )
    assert small is not None
    assert large is not None
    assert small.flops_per_step == large.flops_per_step, "the step stays the same"
    assert large.memory.activations == pytest.approx(2 * small.memory.activations, rel=0.02)
    assert large.memory.weights == small.memory.weights
    assert large.step_sec == pytest.approx(large.flops_per_step / (1e11 * UTILISATION))


def cost_of(*overrides: str) -> Cost:
    cost = explain("pretrain", [*TINY, *SHORT, *overrides]).cost
    assert cost is not None
    return cost


def test_cost__follows_checkpointing_average_and_precision() -> None:
    plain, averaged = cost_of(), cost_of("optim.ema_decay=0.999")
    assert averaged.memory.average == 4 * plain.counted.parameters
    assert averaged.disk.checkpoint - plain.disk.checkpoint == 4 * plain.counted.parameters
    recomputed = cost_of("trainer.activation_checkpointing=true")
    assert recomputed.memory.activations < 0.6 * plain.memory.activations
    assert recomputed.flops_per_step > 1.1 * plain.flops_per_step
    for name in ("bf16", "fp16"):
        cost = cost_of("trainer.accelerator=gpu", f"trainer.precision={name}")
        assert cost.memory.activations < plain.memory.activations, name
        assert cost.flops_per_step == plain.flops_per_step, name


@pytest.mark.parametrize(
    ("decode", "unscored"),
    [
        (["masking/decode=running_cell"], 14),
        (["masking/decode=share", "masking.decode.share=0.25"], 0),
        ([], 0),
    ],
)
def test_cost__is_that_of_the_clips_that_training_takes(decode: list[str], unscored: int) -> None:
    """The decoder of running cells takes visible tokens too, without a loss."""
    found = explain("pretrain", [*TINY, *SHORT, *decode, "data.views=2"])
    assert isinstance(found.config, PretrainConfig)
    assert found.derived.unscored == unscored
    clips = _batch_to_try(found.config, 2, torch.device("cpu"))
    assert isinstance(clips, PretrainBatch)
    model = VideoMAEForPreTraining(found.config.model)
    with FlopCounterMode(display=False) as counter:
        model.training_loss(clips.clips, clips.visible_idx, clips.hidden_idx, clips.unscored_idx).backward()
    assert found.cost is not None
    assert found.cost.counted.flops == counter.get_total_flops()


def test_cost__published_crops_take_four_bytes_a_value() -> None:
    overrides = ["model=tiny", "trainer=cpu", "optim.global_batch=8"]
    exact = explain("finetune", [*overrides, "data.crop_resampling=float_no_antialias"]).cost
    coarse = explain("finetune", overrides).cost
    assert exact is not None
    assert coarse is not None
    assert exact.memory.clips == 4 * coarse.memory.clips


@pytest.mark.parametrize("accelerator", ["gpu", "auto"])
def test_searched_micro_batch__is_counted_at_its_smallest_wherever_it_is_asked(accelerator: str) -> None:
    """On a login node without GPUs, too."""
    found = explain(
        "pretrain",
        [
            "model=tiny",
            "trainer=ddp",
            f"trainer.accelerator={accelerator}",
            "trainer.micro_batch=auto",
            "optim.global_batch=64",
        ],
    )
    assert value_of(found, "trainer.micro_batch")[0] == "auto"
    assert found.derived.micro_batch == 1
    assert found.cost is not None
    assert found.cost.memory.clips == 8 * 3 * 64 * 64


def test_several_sets__are_explained_without_their_paths() -> None:
    found = explain("pretrain", ["experiment=pretrain_vitb_hybrid_v2", *TINY, "masking.ratio=0.75"])
    assert found.missing == ("data.sets.kinetics.path", "data.sets.something.path")
    assert value_of(found, "data.sets.something.stride") == (
        2,
        Origin("group", "data/pretrain_hybrid.yaml", "recipe"),
    )
    assert found.derived.num_videos is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optim.global_batch=2047"], "micro-batches of 8"),
        (["masking.ratio=1.5"], r"masking\.ratio"),
        (["data.path=nowhere"], "nowhere"),
        (["model=enormous"], "enormous"),
    ],
)
def test_what_a_run_would_refuse__is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        explain("pretrain", overrides)


def test_verb__is_told_by_the_recipe() -> None:
    assert infer_verb(["experiment=pretrain_tiny"]) == "pretrain"
    assert infer_verb(["seed=1", "experiment=finetune_tiny"]) == "finetune"
    for words in ([], ["model=base"], ["experiment=mine"]):
        with pytest.raises(ConfigError, match="Say which command"):
            infer_verb(words)
