"""What a command imports before it answers: seconds of every typo, and of every process of a sweep.

Commands run one after the other in a child, which says after each what of the heavy packages is there.
"""

from __future__ import annotations

import gc
import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from command_line import QUICK, SMALL

from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification
from videomae_train.start_up import importing

HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "lightning_fabric",
    "pytorch_lightning",
    "matplotlib",
)
VERBS = ("pretrain", "finetune", "probe", "evaluate", "reconstruct")
CHILD = """
import contextlib, io, json, sys
from videomae_train.cli import main

{before}
for words in json.loads(sys.argv[1]):
    sys.argv = ["videomae", *words]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            code = end.code
    heavy = [name for name in {heavy!r} if name in sys.modules]
    print(json.dumps([" ".join(words), code, said.getvalue(), heavy]))
"""
# Says, when torch is looked for, whether the collector is on.
WATCH_TORCH = """
import gc

class Watch:
    def find_spec(name, path=None, target=None):
        if name == "torch":
            sys.meta_path.remove(Watch)
            on = ["the collector is on"] * gc.isenabled()
            print(json.dumps(["torch is imported", 0, "", on]), file=sys.__stdout__)

sys.meta_path.insert(0, Watch)
"""
# A stage of a sweep is another process; this one ends at once and leaves nothing.
NO_STAGES = """
from videomae_train.commands import sweep_jobs

sweep_jobs.command = lambda stage: [sys.executable, "-S", "-c", ""]
"""


class Ran(NamedTuple):
    command: str
    code: int
    said: str
    heavy: list[str]


def run(*commands: Sequence[object], before: str = "") -> list[Ran]:
    words = json.dumps([[str(word) for word in command] for command in commands])
    child = subprocess.run(
        [sys.executable, "-c", CHILD.format(before=before, heavy=HEAVY), words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    return [Ran(*json.loads(line)) for line in child.stdout.splitlines()]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier") / "weights"
    config = VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=48, id2label={0: "move_left", 1: "move_right"},
    )  # fmt: skip
    torch.manual_seed(0)
    VideoMAEForVideoClassification(config).save_pretrained(folder)
    return folder


def test_help_configurations_and_mistyped_keys__import_no_torch() -> None:
    shown = run(
        ["--help"],
        *([verb, "--help"] for verb in VERBS),
        *([verb, "--cfg", "job"] for verb in VERBS),
        ["pretrain", "sweep=decoder_depth", "--cfg", "job"],
    )
    refused = run(
        ["pretrain", "data.path=x", "masking.ration=0.9"],
        ["finetune", "modle=base"],
        ["pretrain", "model=nosuch"],
        ["pretrain", "experiment=finetune_vitb_ucf101"],
        ["pretrain", "-m", "--cfg", "job"],
        ["pretrain", "--nosuch"],
        ["probe", "run=", "=="],
        ["evaluate", "weights=runs/split{split}/weights", "splits=[1,2]", "dta.path=x"],
    )
    assert [each.command for each in shown if each.code != 0] == []
    assert [each.command for each in refused if each.code == 0] == []
    assert [each for each in (*shown, *refused) if each.heavy] == []


def test_wrong_values__are_told_without_lightning(weights: Path, tmp_path: Path) -> None:
    data = ["data.path=x", f"run={tmp_path / 'run'}"]
    ran = run(
        ["pretrain", *data, "masking.ratio=1.5"],
        ["pretrain", f"run={tmp_path / 'run'}"],
        ["finetune", *data, f"weights={weights}", "data.selection=all", "trainer.micro_batch=0"],
        ["probe", *data, f"weights={weights}", "optim.name=nosuch"],
        ["evaluate", *data, f"weights={weights}", "devices=0"],
        ["reconstruct", *data[1:], f"weights={weights}", "video=x", "ratios=[2]"],
        before=WATCH_TORCH,
    )
    assert ran[0] == ("torch is imported", 0, "", [])
    assert [each for each in ran[1:] if each.code != 2] == []
    assert [each for each in ran[1:] if "pytorch_lightning" in each.heavy] == []


@pytest.mark.parametrize("was_on", [True, False])
def test_collector__is_left_as_it_was(was_on: bool) -> None:
    """Also by an import that fails."""
    (gc.enable if was_on else gc.disable)()
    try:
        with pytest.raises(ModuleNotFoundError), importing():
            importlib.import_module("videomae_train.nosuch")
        assert gc.isenabled() == was_on
    finally:
        gc.enable()


@pytest.mark.slow
def test_work_that_does_not_train__needs_no_lightning(
    weights: Path, packed_motions: Path, tmp_path: Path
) -> None:
    video = sorted((packed_motions.parent.parent).rglob("*.mp4"))[:1]
    one_view = ["--stride", 2, "--workers", 0, "--accelerator", "cpu"]
    set_of = ["model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", "data.selection=split/train"]
    ran = run(
        ["explain", "pretrain", *set_of],
        ["pretrain", *set_of, "-m", "masking.ratio=0.75,0.9", f"run={tmp_path / 'sweep'}"],
        ["predict", weights, *video, "--clips", 1, *one_view],
        ["features", weights, *video, "--out", tmp_path / "features", *one_view],
        [
            "evaluate", f"weights={weights}", f"data.path={packed_motions}", "data.selection=split/test",
            "data.stride=2", "loader.num_workers=0", "accelerator=cpu", f"run={tmp_path / 'scores'}",
        ],
        before=NO_STAGES,
    )  # fmt: skip
    codes = {each.command.split()[0]: (each.code, each.said) for each in ran}
    assert codes["pretrain"][1].count("masking.ratio-0.75") >= 1, codes[
        "pretrain"
    ]  # planned, and its stages ran
    assert {name: said for name, (code, said) in codes.items() if code != 0 and name != "pretrain"} == {}
    assert [(each.command, each.heavy) for each in ran if "pytorch_lightning" in each.heavy] == []
