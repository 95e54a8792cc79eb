"""Calls of the command line inside this process, which spares every test the imports."""

import sys

import pytest

from videomae_train import cli

SMALL = [
    "model.image_size=32", "model.patch_size=8", "model.num_frames=4", "model.hidden_size=24",
    "model.num_hidden_layers=2", "model.num_attention_heads=2", "model.intermediate_size=48",
    "model.decoder_hidden_size=12", "model.decoder_num_hidden_layers=1", "model.decoder_num_attention_heads=2",
    "model.decoder_intermediate_size=24",
]  # fmt: skip
QUICK = [
    "optim.global_batch=4", "optim.epochs=null", "optim.steps=6", "optim.warmup_epochs=null",
    "optim.warmup_steps=2", "trainer.micro_batch=2", "trainer.accelerator=cpu", "trainer.log_every_steps=1",
    "loader.num_workers=0", "logger=disabled", "data.stride=2",
]  # fmt: skip


def videomae(*arguments: object) -> int:
    """Run the command and return its exit code."""
    before = sys.argv
    sys.argv = ["videomae", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as exit_:
            cli.main()
    finally:
        sys.argv = before
    assert isinstance(exit_.value.code, int)
    return exit_.value.code
