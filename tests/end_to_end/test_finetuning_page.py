"""docs/finetuning.md: its blocks run as they stand, on small look-alikes of UCF101, HMDB51 and a folder of videos.

The calls of each block are made here, with few steps. Unpacking is what the look-alikes spare.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from command_line import videomae
from page_commands import calls_of

from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.schema import FinetuneConfig
from videomae_train.config.steps import check_pairs, step_plan
from videomae_train.data.index import PackedDataset
from videomae_train.data.synthetic import generate_motion_videos
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, save_weights_folder

PAGE = Path(__file__).parents[2] / "docs" / "finetuning.md"
BLOCKS = re.findall(
    r"^## ([^\n]*)\n(?:(?!^## ).)*?```bash\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE
)
QUICKLY = {
    "finetune": [
        "optim.global_batch=4", "optim.epochs=null", "optim.steps=2", "optim.warmup_epochs=null",
        "optim.warmup_steps=1", "trainer.micro_batch=2", "loader.num_workers=0", "logger=disabled",
    ],
    "evaluate": ["loader.num_workers=0"],
    "predict": ["--workers", "0"],
}  # fmt: skip
CLASSES = ("ApplyLipstick", "Archery")


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What $DATA holds once everything is unpacked: 2 x 12 videos, laid out in three ways."""
    data = tmp_path_factory.mktemp("data")
    motions = ("move_left", "move_right")
    made = generate_motion_videos(
        data / "made", num_videos=24, seed=0, size=32, num_frames=16, classes=motions
    )
    lists = data / "ucfTrainTestlist"
    hmdb51 = data / "testTrainMulti_7030_splits"
    for folder in (lists, hmdb51):
        folder.mkdir()
    (lists / "classInd.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(CLASSES, 1)))
    for label, motion in enumerate(motions):
        name, files = CLASSES[label], sorted(video for video in made if video.parent.name == motion)
        for number, file in enumerate(files):
            recording, part = number % 6 + 1, number // 6 + 1
            group = f"v_{name}_g{recording:02}_c{part:02}"
            scene = f"film_{recording}_{name}_f_cm_np1_ba_med_{part}"
            for place in (
                f"UCF-101/{name}/{group}.avi",
                f"hmdb51/{name}/{scene}.avi",
                f"videos/{name}/{number}.mp4",
            ):
                (data / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, data / place)
            for split in (1, 2, 3):
                is_test = number % 3 == split - 1
                line = f"{name}/{group}.avi" + ("\n" if is_test else f" {label + 1}\n")
                with (lists / f"{'test' if is_test else 'train'}list{split:02}.txt").open("a") as ucf:
                    ucf.write(line)
                with (hmdb51 / f"{name}_test_split{split}.txt").open("a") as official:
                    official.write(f"{scene}.avi {2 if is_test else 1} \n")
    return data


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "pretrained"
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=16, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=48, decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=24,
    )  # fmt: skip
    save_weights_folder(VideoMAEForPreTraining(config), folder, card="# test")
    return folder


def machines() -> dict[str, list[str]]:
    """What the page offers as MACHINE: the row's words, and these as a list."""
    rows = re.findall(r"^\| `(trainer=[^`]*)` \|", PAGE.read_text(), re.MULTILINE)
    return {row: row.split() for row in rows}


def test_page__has_a_machine_of_each_kind() -> None:
    assert [row.split()[0] for row in machines()] == [
        "trainer=gpu",
        "trainer=ddp",
        "trainer=cpu",
        "trainer=ddp",
    ]


@pytest.mark.parametrize("machine", machines())
def test_machines__take_the_recipes_of_the_page(machine: str) -> None:
    """Composed as a login node does: the batch of a step is divided by ranks and passes, and videos have pairs."""
    recipes = set(re.findall(r"experiment=(finetune_\w+)", "".join(block for _, block in BLOCKS)))
    assert len(recipes) == 2
    for recipe in recipes:
        given = [f"experiment={recipe}", "model=base", "data.path=x", "run=x", *machines()[machine]]
        config = load_config("finetune", compose_config("finetune", given), FinetuneConfig)
        step_plan(config, num_videos=9537)
        check_pairs(config)


def test_page__has_the_three_ways() -> None:
    assert [title for title, _ in BLOCKS] == ["UCF101", "HMDB51", "Your own videos"]


@pytest.mark.parametrize(
    "title", ["Your own videos", *(pytest.param(t, marks=pytest.mark.slow) for t in ("UCF101", "HMDB51"))]
)
def test_blocks__run_as_they_stand(
    title: str, downloads: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(downloads)
    for program, *arguments in calls_of(
        dict(BLOCKS)[title],
        tmp_path,
        ("videomae", "unrar", "unzip"),
        {"DATA": str(downloads), "WEIGHTS": str(weights), "MACHINE": "trainer=cpu"},
    ):
        if program == "videomae":
            assert videomae(*arguments, *QUICKLY.get(arguments[0], [])) == 0, arguments
    if title != "Your own videos":
        score = Path(f"runs/{title.lower()}/score")
        parts = [json.loads((score / f"split{n}" / "metrics.json").read_text())["top1"] for n in (1, 2, 3)]
        assert json.loads((score / "metrics.json").read_text())["top1"] == pytest.approx(sum(parts) / 3)
    if title == "Your own videos":
        rows = Path("predictions.csv").read_text().splitlines()
        assert len(rows) == 1 + 24
        assert PackedDataset.open(Path("shards/mine")).splits.keys() == {"split"}
