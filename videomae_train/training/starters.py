"""Who started this process, told from its environment alone, without importing what starts ranks."""

from __future__ import annotations

import os

_INTERACTIVE_STEP = "4294967290"  # SLURM_INTERACTIVE_STEP of slurm.h, 0xfffffffa


def started_by_torchrun() -> bool:
    """Say whether torchrun (torch.distributed.run) started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def started_by_srun() -> bool:
    """Say whether this process is a task of srun, and not merely inside a Slurm job."""
    # A batch script or an allocation's shell has SLURM_NTASKS too; only a task of srun has a step. Shells that srun
    # opened have one as well: Slurm names those jobs after the shell, unless they were given a name, gives them a
    # terminal, or the number of steps in which one works by hand.
    shell = (
        os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
        or "SLURM_PTY_PORT" in os.environ
        or os.environ.get("SLURM_STEP_ID") == _INTERACTIVE_STEP
    )
    return "SLURM_STEP_ID" in os.environ and "SLURM_NTASKS" in os.environ and not shell


def ranks_from_outside() -> int:
    """Count the ranks that torchrun or srun started; 1 where Lightning starts them."""
    if started_by_torchrun():
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ["SLURM_NTASKS"]) if started_by_srun() else 1


def global_rank() -> int:
    """Return this process's rank among all of the run, 0 for the one that writes and speaks."""
    if started_by_torchrun():
        return int(os.environ["RANK"])
    if started_by_srun():
        return int(os.environ["SLURM_PROCID"])
    # So Lightning names the ranks that it starts itself, always on one node; a person's own process has no name.
    return int(os.environ.get("LOCAL_RANK", "0"))


def processors_of_task() -> int | None:
    """Return how many processors srun was told to give each task, and so this rank; None where nobody said."""
    given = os.environ.get("SLURM_CPUS_PER_TASK") if started_by_srun() else None
    return None if given is None else int(given)
