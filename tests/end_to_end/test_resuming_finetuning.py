"""Fine-tuning with every source of randomness on, killed and resumed, ends as the run that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from attempts import assert_same_run, die_while_saving, end_of, final_state, num_steps, start, wait_for
from command_line import QUICK

from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, save_weights_folder
from videomae_train.training.ledger import read_ledger
from videomae_train.training.records import LEDGER

STEPS = 10
CONFIG = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=48, decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=24,
)  # fmt: skip
# RandAugment, mixup with cutmix and label smoothing are on as published; a step is two micro-batches of two videos.
EVERYTHING = [
    *QUICK, f"optim.steps={STEPS}", "data.views=2", "data.view_jitter_frames=2", "data.erase_probability=0.5",
    "data.crop_resampling=float_no_antialias", "head.drop_path_rate=0.4", "head.head_dropout=0.5",
    "head.head_init_scale=1.0", "optim.ema_decay=0.9", "optim.layer_decay=0.75", "optim.clip_grad_norm=1.0",
    "optim.base_lr=0.05", "trainer.precision=bf16", "loader.num_workers=2", "trainer.threads=1",
    "trainer.checkpoint_every_steps=2", "trainer.log_every_steps=3",
]  # fmt: skip
TWO_RANKS = ["trainer.devices=2", "trainer.micro_batch=2", "loader.num_workers=1"]


@pytest.fixture(scope="module")
def recipe(packed_motions: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    weights = tmp_path_factory.mktemp("pretrained") / "weights"
    torch.manual_seed(0)
    save_weights_folder(VideoMAEForPreTraining(CONFIG), weights, card="# test")
    data = [f"data.path={packed_motions}", "data.selection=split/train", "data.val_selection=split/test"]
    return [f"weights={weights}", *EVERYTHING, *data]


@pytest.fixture(scope="module")
def straight(recipe: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("straight") / "run"
    assert end_of(start("finetune", *recipe, f"run={run}")) == 0
    return run


@pytest.mark.slow
def test_two_kills__change_nothing(recipe: list[str], straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["finetune", *recipe, f"run={run}", "resume=auto"]
    process = start(*command)
    steps_before = random.randrange(3, STEPS - 3)  # whenever: any moment must do
    wait_for(lambda: num_steps(run) >= steps_before)
    os.kill(process, signal.SIGKILL)
    assert end_of(process) == -signal.SIGKILL
    assert end_of(start(*command, before=die_while_saving(1, "_write_checksum"))) == -signal.SIGKILL
    # On other workers, which must not matter.
    assert end_of(start(*command, "loader.num_workers=1")) == 0
    assert_same_run(run, straight, STEPS)


@pytest.mark.slow
def test_every_switch__makes_another_run(recipe: list[str], tmp_path: Path) -> None:
    """Without this, the test above could pass with a switch that does nothing."""
    off = {
        "randaugment": "data.randaugment=null", "erasing": "data.erase_probability=0",
        "mixing": "mix.mixup_alpha=0", "smoothing": "mix.label_smoothing=0",
        "drop path": "head.drop_path_rate=0", "dropout": "head.head_dropout=0",
    }  # fmt: skip
    first = ["optim.steps=2", "optim.warmup_steps=1", "loader.num_workers=0"]
    ends = []
    for name, override in {"all": "seed=0", **off}.items():
        run = tmp_path / name.replace(" ", "_")
        assert end_of(start("finetune", *recipe, *first, override, f"run={run}")) == 0
        ends.append(torch.cat([tensor.flatten() for tensor in final_state(run, 2).values()]))
    for number, name in enumerate(off, start=1):
        assert not torch.equal(ends[0], ends[number]), name


@pytest.mark.slow
def test_two_ranks__killed_and_resumed_on_two_end_alike(
    recipe: list[str], straight: Path, tmp_path: Path
) -> None:
    command = [str(Path(sys.executable).parent / "videomae"), "finetune", *recipe, *TWO_RANKS, "resume=auto"]
    killed, alone = tmp_path / "killed", tmp_path / "alone"
    subprocess.run([*command, f"run={alone}"], check=True, capture_output=True)
    process = subprocess.Popen([*command, f"run={killed}"], start_new_session=True, stderr=subprocess.DEVNULL)
    steps_before = random.randrange(3, STEPS - 3)
    wait_for(lambda: num_steps(killed) >= steps_before)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    subprocess.run([*command, f"run={killed}"], check=True, capture_output=True)
    assert_same_run(killed, alone, STEPS)
    # Another number of ranks draws other mixtures, from the same samples.
    assert read_ledger(killed / LEDGER) == read_ledger(straight / LEDGER)
