"""docs/pretraining.md: its commands, in their order, on a small look-alike of the sets that they are for.

What asks for GPUs or a cluster is composed and validated as it stands; what one process can do is also done, with a
small model and few steps on this machine.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import SMALL, videomae
from page_commands import calls_of

from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.schema import PretrainConfig
from videomae_train.config.steps import step_plan
from videomae_train.data.synthetic import generate_motion_videos
from videomae_train.training.checkpoint_files import newest_checkpoint
from videomae_train.training.records import read_metric

PAGE = Path(__file__).parents[2] / "docs" / "pretraining.md"
BLOCKS = re.findall(r"^```\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
STEPS = 4
QUICKLY = [
    *SMALL, "optim.global_batch=4", "optim.epochs=null", f"optim.steps={STEPS}", "optim.warmup_epochs=null",
    "optim.warmup_steps=1", "data.stride=2", "trainer.accelerator=cpu", "trainer.devices=1", "trainer.num_nodes=1",
    "trainer.precision=fp32", "trainer.micro_batch=2", "trainer.log_every_steps=1", "loader.num_workers=0",
    "logger=disabled",
]  # fmt: skip
PROBED = ["watch.probe_every_steps=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `shards`, whose splits are called like those of UCF101 and of Kinetics-400."""
    folder = tmp_path_factory.mktemp("page")
    videos = generate_motion_videos(
        folder / "videos", num_videos=16, seed=0, size=32, num_frames=16, classes=("move_left", "move_right")
    )
    rows = [
        ",".join((str(video), video.parent.name, part, part))
        for number, video in enumerate(videos)
        for part in ("test" if number // 2 % 4 == 3 else "train",)
    ]
    (folder / "videos.csv").write_text("\n".join(["path,label,split,split1", *rows]))
    assert videomae("pack", folder / "videos.csv", folder / "shards") == 0
    return folder


@pytest.fixture(scope="module")
def calls(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """Every command of the page that is ours, with what starts it."""
    block = "\n".join(block for block in BLOCKS if not block.startswith("Error: "))
    commands = ("videomae", "torchrun", "sbatch")
    return calls_of(block, tmp_path_factory.mktemp("shell"), commands, {"HOST": "localhost"})


def pretrainings(calls: list[list[str]]) -> list[list[str]]:
    """The overrides of every pretraining, whoever starts it; of a sweep, those of its first point."""
    found: list[list[str]] = []
    for call in calls:
        if "pretrain" in call:
            given = call[call.index("pretrain") + 1 :]
        elif call[0] == "sbatch":
            given = call[call.index("scripts/slurm/pretrain.sbatch") + 1 :]
        else:
            continue
        found.append([re.sub(r"^(masking\.ratio=[^,]*),.*", r"\1", word) for word in given if word != "-m"])
    return found


def test_every_pretraining__is_a_valid_request(
    calls: list[list[str]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    requests = [
        given for given in pretrainings(calls) if any(word.startswith("data.path=") for word in given)
    ]
    assert len(requests) > 8
    for given in requests:
        config = load_config("pretrain", compose_config("pretrain", given), PretrainConfig)
        step_plan(config, num_videos=9537)


@pytest.mark.slow
def test_commands__run_as_they_stand_but_smaller(
    calls: list[list[str]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for program, *given in calls:
        if program != "videomae" or "launcher=slurm" in given:
            continue
        verb, *words = given
        if verb == "pretrain" and len(words) > 1:
            words += [*QUICKLY, *(PROBED if any("watch.probe." in word for word in words) else [])]
        if verb == "convert":
            words[0] = _of_the_same_run(words[0])
        assert videomae(verb, *words) == 0, given
    assert len(read_metric(Path("runs/probed"), "probe/knn_top1")[0]) == STEPS // 2
    own, average = (Path(name, "model.safetensors").read_bytes() for name in ("own_weights", "average"))
    assert average == Path("runs/averaged/weights/model.safetensors").read_bytes() != own


def _of_the_same_run(checkpoint: str) -> str:
    """The newest checkpoint of a run, whose steps here are few."""
    newest = newest_checkpoint(Path(checkpoint).parent)
    assert newest is not None
    return str(newest)
