import json
import tempfile
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import QUICK, SMALL, videomae

from videomae_train import cli
from videomae_train.benchmarks.whole_run import loader_seconds
from videomae_train.commands.bench_run import RunBenchOptions, measure_run
from videomae_train.errors import ConfigError


def test_loader__is_timed_without_its_start() -> None:
    def batches():
        time.sleep(0.3)
        while True:
            time.sleep(0.01)
            yield None

    assert loader_seconds(batches(), 1, 0.05) < 0.1


@pytest.mark.slow
def test_command__measures_every_part_and_keeps_nothing(
    packed_motions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.chdir(tmp_path)
    figures = tmp_path / "run.json"
    arguments = ["bench", "run", *SMALL, *QUICK, f"data.path={packed_motions}", "optim.steps=600"]
    arguments += ["--rounds", "1", "--seconds", "0.05", "--packing-videos", "1", "--json", str(figures)]
    result = CliRunner().invoke(cli.videomae, arguments)
    assert result.exit_code == 0, result.output
    written = json.loads(figures.read_text())
    assert set(written["seconds"]) == {"loader", "bare", "step", "both", "long"}
    assert all(len(rounds) == 1 and min(rounds) > 0 for rounds in written["seconds"].values())
    assert written["prediction"]["steps"] == 600
    total, step = written["prediction"]["total_sec"], written["prediction"]["step_sec"]
    assert total["middle"] > 600 * step["middle"] > 0
    assert 0 <= written["run"]["waiting"] < 1
    assert len(written["run"]["packings"]) == 2
    for words in ("loader alone", "bare step", "both together", "Verdict: ", "The whole experiment: "):
        assert words in result.output
    assert list(scratch.iterdir()) == []
    assert {file.name for file in tmp_path.iterdir()} == {"scratch", "run.json"}


def test_run__leaves_no_micro_batch_to_a_search(packed_motions: Path) -> None:
    with pytest.raises(ConfigError, match="micro_batch"):
        measure_run(
            [*SMALL, f"data.path={packed_motions}", "trainer.micro_batch=auto"], RunBenchOptions(1, 0.0, 0)
        )


@pytest.mark.slow
@pytest.mark.alone
def test_prediction__is_what_a_run_takes(packed_motions: Path, tmp_path: Path) -> None:
    """Within 15 %; fails only where all rounds say otherwise."""
    command = [*SMALL, *QUICK, f"data.path={packed_motions}", "optim.steps=200", "optim.global_batch=8"]
    command += ["trainer.micro_batch=2", "trainer.log_every_steps=20"]
    before = measure_run(command, RunBenchOptions(3, 0.5, 0)).prediction
    assert videomae("pretrain", *command, f"run={tmp_path / 'run'}") == 0
    took = json.loads((tmp_path / "run" / "run.json").read_text())["seconds"]
    after = measure_run(command, RunBenchOptions(3, 0.5, 0)).prediction
    # A machine that was slower or faster meanwhile widens what is predicted.
    low = min(before.total_sec.low, after.total_sec.low)
    high = max(before.total_sec.high, after.total_sec.high)
    assert 0.85 * low <= took <= 1.15 * high
