import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from videomae_train.benchmarks import scaling
from videomae_train.benchmarks.alternating import Spread
from videomae_train.benchmarks.ranks import seconds_of_ranks
from videomae_train.benchmarks.scaling import Scaling, ScalingOptions, ScalingRow, Setting, settings
from videomae_train.cli import videomae

OPTIONS = ScalingOptions("tiny", 1, "fp32", "cpu", 1)
ROW = ScalingRow("clips", "8", Spread(1, 1, 1), 100, 4.0, Spread(1.0, 1.0, 1.0))


def test_settings__differ_from_the_base_in_one_value() -> None:
    rows = list(settings("tiny").values())
    base = rows[0]
    assert len(set(rows)) == len(rows)
    for row in rows[1:]:
        assert sum(vars(row)[name] != value for name, value in vars(base).items()) == 1


def test_flops__grow_with_clips_exactly_and_with_tokens_faster() -> None:
    base = Setting("tiny")
    assert replace(base, batch=8).flops() == 4 * base.flops()
    assert replace(base, frames=16).flops() > 2 * base.flops()  # attention's square
    assert replace(base, kind="cross").flops() < base.flops()


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (ROW, "no worse than linear"),
        (replace(ROW, of_expected=Spread(1.05, 1.3, 1.5)), "no worse than linear"),  # not clearly
        (replace(ROW, of_expected=Spread(1.2, 1.3, 1.5)), "worse than linear at 8: 1.30 times"),
        (replace(ROW, growth=0.5, of_expected=Spread(1.2, 1.3, 1.5)), "no worse than linear"),  # no growth
    ],
)
def test_verdict__is_of_clear_growth_only(row: ScalingRow, verdict: str) -> None:
    base = replace(ROW, axis="base", growth=1.0)
    assert Scaling(OPTIONS, 1, (base, row)).verdicts()["clips"].startswith(verdict)


def test_command__prints_every_row_and_writes_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = dict(list(settings("tiny").items())[:2])
    monkeypatch.setattr(scaling, "settings", lambda size: some)
    figures = tmp_path / "scaling.json"
    arguments = ["bench", "scaling", "--size", "tiny", "--rounds", "2", "--ranks", "1", "--device", "cpu"]
    result = CliRunner().invoke(videomae, [*arguments, "--json", str(figures)])
    assert result.exit_code == 0, result.output
    written = json.loads(figures.read_text())
    base, clips = written["rows"]
    assert (base["growth"], base["of_expected"]["median"]) == (1.0, 1.0)
    assert clips["growth"] == 2.0
    assert set(written["verdicts"]) == {"clips"}
    assert "clips: " in result.output


@pytest.mark.slow
def test_ranks__take_their_steps_together() -> None:
    seconds = seconds_of_ranks(2, Setting("tiny").config, 2, "fp32", 3)
    assert seconds.shape == (3,)
    assert np.all(seconds > 0)
