"""docs/extending.md: its masks, targets and commands are run as they stand."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import QUICK, SMALL, videomae

from videomae_train.config.masking import DecodeAllConfig, MaskingConfig
from videomae_train.errors import ConfigError
from videomae_train.types import PatchGrid

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
MASKS, TARGETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
GRID = PatchGrid(t=2, h=4, w=4)
WRONG = """
import numpy as np
class Counts:
    def __init__(self, ratio): self.ratio = ratio
    def num_hidden(self, grid): return {hidden}
    def __call__(self, grid, rng): return np.array({mask})
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("my_masks", "wrong_masks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def masking(name: str, ratio: float = 0.5, **more: Any) -> MaskingConfig:
    return MaskingConfig(name=name, ratio=ratio, decode=DecodeAllConfig(name="all"), **more)


def test_masks_of_ones_own__hide_what_they_say(folder: Path) -> None:
    (folder / "my_masks.py").write_text(MASKS)
    sampler = masking("my_masks:BlockMask").build()
    masks = [sampler(GRID, np.random.default_rng(seed)).reshape(GRID) for seed in range(40)]
    assert {int(mask.sum()) for mask in masks} == {sampler.num_hidden(GRID)} == {18}
    assert all((mask[0] == mask[1]).all() for mask in masks)
    assert len({mask.tobytes() for mask in masks}) == 4, "two rows and two columns to begin at"


@pytest.mark.parametrize("workers", [0, 2])
def test_run_with_masks_of_ones_own(
    workers: int, folder: Path, packed_motions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "my_masks.py").write_text(MASKS)
    (line,) = re.findall(r"^videomae pretrain (.*masking=own.*)$", PAGE, re.M)
    words = line.replace("$DATA", str(packed_motions)).split()
    more = [*SMALL, *QUICK, f"loader.num_workers={workers}", "run=run"]
    assert videomae("pretrain", *words, *more) == 0
    assert "my_masks:BlockMask mask, ratio 0.75" in capsys.readouterr().out
    assert videomae("explain", "pretrain", *words, *SMALL, "--json") == 0


@pytest.mark.parametrize(
    ("hidden", "mask", "message"),
    [
        ("16", "[True] * 16", r"a mask of bool \(16,\) that hides 16; expected bool \(32,\) with 16 True"),
        ("16", "[True] * 15 + [False] * 17", "that hides 15"),
        ("16", "[1] * 16 + [0] * 16", "a mask of int64"),
        ("0", "[False] * 32", "0 of 32 tokens hidden"),
        ("32", "[True] * 32", "32 of 32 tokens hidden"),
    ],
)
def test_masks_that_break_their_word__are_named(hidden: str, mask: str, message: str, folder: Path) -> None:
    (folder / "wrong_masks.py").write_text(WRONG.format(hidden=hidden, mask=mask))
    with pytest.raises(ConfigError, match=message):
        masking("wrong_masks:Counts").build()(GRID, np.random.default_rng(0))


@pytest.mark.parametrize("name", ["nosuch:Mask", "my_masks:Nosuch"])
def test_masks_that_are_not_there__are_named(name: str, folder: Path) -> None:
    (folder / "my_masks.py").write_text(MASKS)
    with pytest.raises(ConfigError, match=rf"masking\.name: {name}.*PYTHONPATH"):
        masking(name).build()


def test_target_of_ones_own__is_trained_saved_and_fine_tuned(
    folder: Path, packed_motions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = [*SMALL, *QUICK]
    block = TARGETS.replace("data.path=shards", f"data.path={packed_motions}")
    block = block.replace('"resume=auto"]', f'"resume=auto", *{quick!r}]')
    spaces: dict[str, Any] = {}
    exec(block, spaces)
    assert spaces["outcome"].steps > 0
    assert 0 < spaces["outcome"].baselines["predict_mean"] < 0.1, "of colours in [0, 1]"
    later = [word for word in QUICK if not word.startswith("model.")]
    data = [f"data.path={packed_motions}", "data.selection=split/train"]
    assert videomae("finetune", "weights=runs/colours/weights", *later, *data, "run=tuned") == 0
    with pytest.raises(ConfigError, match="reconstruct_every_steps"):
        exec(block.replace('"resume=auto"', '"watch.reconstruct_every_steps=end", "run=other"'), {})


def test_recipes_in_a_folder_of_ones_own(folder: Path, packed_motions: Path) -> None:
    (folder / "my_configs" / "experiment").mkdir(parents=True)
    (folder / "my_configs" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nmasking:\n  ratio: 0.5\n"
    )
    (line,) = re.findall(r"`videomae pretrain (--config-dir my_configs experiment=mine)`", PAGE)
    words = [*line.split(), "model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", "run=run"]
    assert videomae("pretrain", *words) == 0
    assert '"ratio": 0.5' in (folder / "run" / "recipe.json").read_text()
