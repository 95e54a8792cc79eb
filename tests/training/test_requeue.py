import os
import signal
from pathlib import Path

import pytest

from videomae_train.errors import TrainingError
from videomae_train.training.requeue import ignore_warnings_outside_training, requeue_after

VARIABLES = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scontrol that writes down what it is asked, and does as the exit code beside it says."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    script = tmp_path / "scontrol"
    lines = [
        "#!/bin/sh", f'echo "$@" >> {tmp_path}/asked', f"test -e {tmp_path}/refuses || exit 0",
        'echo "Job is on hold" >&2', "exit 1",
    ]  # fmt: skip
    script.write_text("\n".join(lines))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "asked"


@pytest.mark.parametrize("warning", ["SIGUSR1", "SIGUSR2"])
def test_requeue_after__a_warning_asks_slurm(
    warning: str, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert requeue_after(warning) == "12"
    assert asked.read_text() == "requeue 12\n"


def test_requeue_after__a_point_of_a_sweep_requeues_itself_alone(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in zip(VARIABLES, ("14", "12", "2"), strict=True):
        monkeypatch.setenv(name, value)
    assert requeue_after("SIGUSR2") == "12_2"
    assert asked.read_text() == "requeue 12_2\n"


def test_requeue_after__cancelling_and_preempting_are_slurms_own(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert requeue_after("SIGUSR2") is None, "no Slurm, nothing to ask"
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert requeue_after("SIGTERM") is None
    assert not asked.exists()


def test_requeue_after__slurm_may_end_the_asking_process_with_all_others(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    (asked.parent / "scontrol").write_text("#!/bin/sh\nkill -TERM $$\n")
    assert requeue_after("SIGUSR2") == "12"


def test_requeue_after__a_refusal_is_an_error_that_says_why(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    (asked.parent / "refuses").touch()
    with pytest.raises(TrainingError, match=r"scontrol requeue 12: exit code 1, Job is on hold"):
        requeue_after("SIGUSR2")


def test_ignore_warnings__in_jobs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    before = signal.getsignal(signal.SIGUSR2)
    ignore_warnings_outside_training()
    assert signal.getsignal(signal.SIGUSR2) == before
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    try:
        ignore_warnings_outside_training()
        os.kill(os.getpid(), signal.SIGUSR2)  # would end the process
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_IGN, "which cancels, also while a job starts"
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        signal.signal(signal.SIGUSR2, before)
