import pytest

from videomae_train.training.starters import global_rank, processors_of_task, ranks_from_outside

SRUN = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_JOB_NAME": "pretrain"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1"}


@pytest.mark.parametrize(
    ("variables", "rank", "ranks"),
    [
        ({}, 0, 1),
        ({"LOCAL_RANK": "3"}, 3, 1),
        (SRUN, 2, 4),
        (TORCHRUN, 5, 8),
        ({**SRUN, **TORCHRUN}, 5, 8),
        ({**SRUN, "SLURM_JOB_NAME": "bash", "LOCAL_RANK": "1"}, 1, 1),
        ({**SRUN, "SLURM_PTY_PORT": "40000"}, 0, 1),
        ({**SRUN, "SLURM_STEP_ID": "4294967290"}, 0, 1),
        ({name: SRUN[name] for name in ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_JOB_NAME")}, 0, 1),
    ],
    ids=[
        "a person",
        "Lightning",
        "srun",
        "torchrun",
        "torchrun inside srun",
        "a shell of srun",
        "a named shell of srun",
        "the interactive step of salloc",
        "batch script",
    ],
)
def test_rank__is_that_of_whoever_started_the_process(
    variables: dict[str, str], rank: int, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*SRUN, *TORCHRUN, "SLURM_PTY_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (global_rank(), ranks_from_outside()) == (rank, ranks)


def test_processors__are_those_that_srun_was_told_to_give_and_nobody_elses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (*SRUN, *TORCHRUN, "SLURM_PTY_PORT", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    assert processors_of_task() is None, "a batch script, whose ranks Lightning starts"
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    assert processors_of_task() == 6
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    assert processors_of_task() is None
