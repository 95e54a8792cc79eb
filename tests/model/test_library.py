"""The models are a library: nothing of the framework around them comes along."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_models__brings_neither_hydra_nor_lightning() -> None:
    code = "import sys, videomae_train.model; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    # timm brings wandb and pydantic along, where they are installed.
    assert not loaded & {"hydra", "omegaconf", "pytorch_lightning", "webdataset", "av", "transformers"}
