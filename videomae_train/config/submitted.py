"""Inside a job that Hydra's submitit launcher submitted: errors reach the log, Slurm and whoever waits."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import traceback
from collections.abc import Callable

from hydra.errors import CompactHydraException

from videomae_train.errors import VideoMAETrainError
from videomae_train.training.requeue import ignore_warnings_outside_training


def is_submitted() -> bool:
    """Say whether submitit runs this process."""
    return "SUBMITIT_EXECUTOR" in os.environ


def run_submitted(action: Callable[[], None]) -> None:
    """Run a job's action, and let the process end as the command line would.

    Hydra hands the error back to the process that submitted the job, and submitit takes that for a success: the job's
    log would say nothing, and Slurm would call it completed.

    Raises:
        CompactHydraException: The run failed; Hydra prints it in the submitting process.
    """
    ignore_warnings_outside_training()  # instead of submitit, which would requeue, or give up
    end = _Ending()
    try:
        action()
    except VideoMAETrainError as error:
        end.set(error.exit_code)
        print(f"Error: {error}", file=sys.stderr)
        raise CompactHydraException(f"Error: {error}") from None
    except Exception:
        end.set(1)
        traceback.print_exc()
        raise


class _Ending:
    """The exit code of this process, whatever its main function returns."""

    def __init__(self) -> None:
        self.code = 0
        # Registered before the run's libraries register theirs, and so run after them.
        atexit.register(self._exit)

    def set(self, code: int) -> None:
        self.code = code
        logging.getLogger("submitit").setLevel(logging.WARNING)  # it would call the job a success

    def _exit(self) -> None:
        if self.code:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.code)
