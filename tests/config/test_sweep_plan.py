"""What a sweep's plan finds out before anything starts: what is the same, and what could not run."""

import json
import shutil
from pathlib import Path

import pytest

from videomae_train.config.grammar import quoted
from videomae_train.config.sweep import read_sweep
from videomae_train.config.sweep_plan import SweepPlan, plan_sweep
from videomae_train.errors import ConfigError
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, save_weights_folder

TINY = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}


def test_finetune_lr__pretrains_once(packed_motions: Path) -> None:
    own = [
        "data.selection=split/train",
        "finetune.data.selection=split/train",
        "evaluate.data.selection=split/test",
    ]
    small = ["experiment=pretrain_tiny", "finetune.experiment=finetune_tiny", f"data.path={packed_motions}"]
    batch = [
        "optim.global_batch=4",
        "finetune.optim.global_batch=4",
        "trainer.micro_batch=4",
        "finetune.trainer.micro_batch=4",
    ]
    plan = plan_sweep(read_sweep(["sweep=finetune_lr", *small, *own, *batch]), {})
    assert [stage.verb for stage in plan.shared] == ["pretrain"]
    assert len({planned.stages[1].identity for planned in plan.points}) == 5


def test_without_pretraining__fine_tuning_starts_from_weights_that_are_there(
    packed_motions: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    save_weights_folder(
        VideoMAEForPreTraining(VideoMAEConfig(image_size=64, num_frames=8, **TINY)), weights, card=""
    )
    grid = f"sweep.grids=[{{pretrain:null,finetune.weights:{quoted(weights)},finetune.optim.base_lr:[1e-3,2e-3]}}]"
    later = [
        "finetune.data.selection=split/train",
        "evaluate.data.selection=split/test",
        "finetune.optim.steps=2",
    ]
    batch = [
        "finetune.experiment=finetune_tiny",
        "finetune.optim.global_batch=4",
        "finetune.trainer.micro_batch=4",
    ]
    chain = ["sweep.then=[finetune,evaluate]", *later, *batch, "finetune.optim.warmup_steps=1"]
    plan = plan_sweep(read_sweep(["-m", f"data.path={packed_motions}", grid, *chain]), {})
    assert [[stage.verb for stage in planned.stages] for planned in plan.points] == [
        ["finetune", "evaluate"]
    ] * 2
    for planned in plan.points:
        assert [word for word in planned.stages[0].words if word.startswith("weights=")] == [
            f"weights={quoted(weights)}"
        ]


def test_frame_masks_that_hide_as_much__are_one_pretraining(packed_motions: Path) -> None:
    """Of the tiny model's four time slots 0.75 hides three, and so does 0.9; a tube mask has more places."""
    small = [
        "experiment=pretrain_tiny",
        f"data.path={packed_motions}",
        "optim.global_batch=4",
        "trainer.micro_batch=4",
    ]
    for kind, runs in (("frame", 2), ("tube", 3)):
        words = [*small, f"masking={kind}", "masking.ratio=0.5,0.75,0.9"]
        plan = plan_sweep(read_sweep(["-m", *words]), {})
        stages = [planned.stages[0] for planned in plan.points]
        # The last of a key counts: whatever a point asked for, one command trains them, also when points are added.
        ratios = {[word for word in stage.words if word.startswith("masking.ratio=")][-1] for stage in stages}
        assert len({stage.identity for stage in stages}) == len(ratios) == runs, kind


def test_probe__is_a_stage_like_fine_tuning(packed_motions: Path) -> None:
    words = [
        "-m",
        "experiment=pretrain_tiny",
        f"data.path={packed_motions}",
        "optim.global_batch=4",
        "trainer.micro_batch=4",
    ]
    own = [
        "probe.data.selection=split/train",
        "evaluate.data.selection=split/test",
        "probe.optim.global_batch=8",
    ]
    probe = [*own, "probe.trainer.micro_batch=8", "probe.probe=linear,attentive"]
    plan = plan_sweep(read_sweep([*words, *probe, "sweep.then=[probe,evaluate]"]), {})
    assert [[stage.verb for stage in planned.stages] for planned in plan.points] == [
        ["pretrain", "probe", "evaluate"]
    ] * 2
    assert [stage.verb for stage in plan.shared] == ["pretrain"]


def last_values(words: tuple[str, ...]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words)


@pytest.mark.parametrize(
    ("finetuned", "scored"),
    [
        (["data.stride=3"], {"data.stride": "3", "data.antialias": "true"}),
        (["data.stride=2", "data.crop_resampling=float_no_antialias"], {"data.antialias": "false"}),
        (
            ["data.windows=uniform", "data.stride=null"],
            {"data.windows": "interleaved", "data.num_clips": "2"},
        ),
        (
            ["data.windows=uniform_v1", "data.stride=null"],
            {"data.windows": "interleaved", "data.stride": "null"},
        ),
    ],
)
def test_score__is_on_clips_like_those_of_the_fine_tuning(
    finetuned: list[str], scored: dict[str, str], packed_motions: Path
) -> None:
    """A classifier of every second frame says little about every fourth."""
    chain = [*SMALL_CHAIN, f"data.path={packed_motions}", *(f"finetune.{word}" for word in finetuned)]
    (planned, _) = plan_sweep(read_sweep(chain), {}).points
    assert last_values(planned.stages[-1].words).items() >= scored.items()
    own = ["evaluate.data.stride=1", "evaluate.data.num_clips=1", "evaluate.data.windows=spread"]
    (planned, _) = plan_sweep(read_sweep([*chain, *own]), {}).points
    assert last_values(planned.stages[-1].words)["data.stride"] == "1", "what is asked for is what counts"


def test_later_trainer__is_the_pretrainings_or_the_one_chosen(packed_motions: Path) -> None:
    chain = [*SMALL_CHAIN, f"data.path={packed_motions}", "trainer.precision=bf16", "trainer.devices=2"]
    chain += ["trainer.micro_batch=2", "finetune.trainer.micro_batch=2"]
    (planned, _) = plan_sweep(read_sweep(chain), {}).points
    assert (
        last_values(planned.stages[1].words).items()
        >= {"trainer.precision": "bf16", "trainer.devices": "2"}.items()
    )
    assert [stage.ranks for stage in planned.stages] == [(1, 2)] * 3
    (planned, _) = plan_sweep(read_sweep([*chain, "finetune.trainer=cpu"]), {}).points
    assert "trainer.precision" not in last_values(planned.stages[1].words)
    assert [stage.ranks for stage in planned.stages] == [(1, 2), (1, 1), (1, 2)]


def test_runs_of_a_sweep__have_names_of_their_own_in_one_project(packed_motions: Path) -> None:
    """Weights & Biases shows a run by the name of its folder, which is that of the verb at every point."""
    chain = [*SMALL_CHAIN, f"data.path={packed_motions}", "logger.project=mine", "logger.tags=[a,b]"]
    stages = [stage for planned in plan_sweep(read_sweep(chain), {}).points for stage in planned.stages]
    trained = [last_values(stage.words) for stage in stages if stage.trains]
    assert {words["logger.name"] for words in trained} == {
        f"seed-{seed}/{verb}" for seed in (0, 1) for verb in ("pretrain", "finetune")
    }
    assert {words["logger.project"] for words in trained} == {"mine"}
    assert {words["logger.group"] for words in trained} == {"own"}
    assert {words["logger.tags"] for words in trained} == {"[a,b]"}
    own = plan_sweep(read_sweep([*chain, "logger.name=all", "logger.group=ours"]), {}).points[0]
    for stage in own.stages[:2]:
        assert last_values(stage.words)["logger.group"] == "ours"
    assert last_values(own.stages[0].words)["logger.name"] == "all"


SMALL_CHAIN = [
    "-m", "experiment=pretrain_tiny", "optim.global_batch=4", "trainer.micro_batch=4", "seed=0,1",
    "finetune.experiment=finetune_tiny", "finetune.optim.global_batch=4", "finetune.trainer.micro_batch=4",
    "data.selection=split/train", "finetune.data.selection=split/train", "evaluate.data.selection=split/test",
    "sweep.then=[finetune,evaluate]",
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["sweep.then=[evaluate]"], "no classes"),
        (["evaluate.data.path={other}"], "weights: a model of the classes"),
        (["finetune.data.selection=all", "finetune.data.val_selection=split/test"], "data.val_selection"),
        (["finetune.mix.mixup_alpha=0.8", "finetune.trainer.micro_batch=1"], "even number of clips"),
    ],
)
def test_what_would_fail_after_hours__is_refused_at_once(
    given: list[str], told: str, packed_motions: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(packed_motions, other)
    description = json.loads((other / "dataset.json").read_text())
    description["classes"] = description["classes"][::-1]
    (other / "dataset.json").write_text(json.dumps(description))
    words = [f"data.path={packed_motions}", *SMALL_CHAIN]
    plan_sweep(read_sweep(words), {})
    if given == ["sweep.then=[evaluate]"]:
        words = [word for word in words if "finetune" not in word]
    words += [word.format(other=other) for word in given]
    with pytest.raises(ConfigError, match=told):
        plan_sweep(read_sweep(words), {})


def knn_sweep(data: Path, *more: str) -> SweepPlan:
    words = [
        "-m",
        "experiment=pretrain_tiny",
        f"data.path={data}",
        "optim.global_batch=4",
        "trainer.micro_batch=4",
    ]
    own = ["data.selection=split/train", "probe.data.selection=split/train", *more]
    return plan_sweep(read_sweep([*words, *own]), {})


def test_knn__scores_by_itself_beside_probes_that_train(packed_motions: Path) -> None:
    of_linear = ["sweep.then=[probe,evaluate]", "evaluate.data.selection=split/test"]
    linear = "probe.probe:linear,probe.optim.global_batch:8,probe.trainer.micro_batch:8"
    grid = f"sweep.grids=[{{probe.probe:knn,probe.data.val_selection:split/test}},{{{linear}}}]"
    plan = knn_sweep(packed_motions, *of_linear, grid)
    by_knn, by_linear = (planned.stages for planned in plan.points)
    assert [stage.verb for stage in by_knn] == ["pretrain", "probe"], "it has its score"
    assert [stage.verb for stage in by_linear] == ["pretrain", "probe", "evaluate"]
    assert by_knn[0] == by_linear[0]
    assert "resume=auto" not in by_knn[1].words, "there is nothing to go on with"
    assert "resume=auto" in by_linear[1].words
    assert f"weights={by_knn[0].folder}/weights" in by_knn[1].words


def test_knn__is_told_apart_by_what_decides_its_score(packed_motions: Path) -> None:
    def identity(*more: str) -> str:
        knn = ["sweep.then=[probe]", "probe.probe=knn", "probe.data.val_selection=split/test"]
        return knn_sweep(packed_motions, *knn, *more).points[0].stages[-1].identity

    first = identity()
    assert identity("probe.batch_videos=3", "probe.threads=1", "probe.loader.num_workers=0") == first
    for of_score in ("probe.knn.neighbours=3", "optim.steps=700"):
        assert identity(of_score) != first


def test_knn__has_no_stage_behind_it_and_no_video_twice(packed_motions: Path) -> None:
    knn = ["probe.probe=knn", "probe.data.val_selection=split/test"]
    with pytest.raises(ConfigError, match="it scores by itself"):
        knn_sweep(packed_motions, *knn, "sweep.then=[probe,evaluate]", "evaluate.data.selection=split/test")
    with pytest.raises(ConfigError, match="share 12 videos"):
        knn_sweep(packed_motions, knn[0], "probe.data.val_selection=split/train", "sweep.then=[probe]")
