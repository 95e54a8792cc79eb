"""Why a loader's worker died, as an error that names the video it was decoding."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from multiprocessing.process import BaseProcess

from videomae_train.data.children import SIGNALS_FROM_OUTSIDE
from videomae_train.data.passed_by import PassedBy
from videomae_train.data.stand_ins import make_fault
from videomae_train.data.video_table import VideoNames
from videomae_train.data.watch import Decoding, DecodingBoard
from videomae_train.errors import DecodeCause, DecodeError, TrainingError, VideoMAETrainError

# Batches come through /dev/shm: where it is full, touching a page of one ends the worker by SIGBUS, whatever it decodes
# meanwhile. Decoders have no mapped files of their own.
_ENDS_FROM_OUTSIDE = frozenset(number.name for number in (*SIGNALS_FROM_OUTSIDE, signal.SIGBUS))
_LIKELY = {
    signal.SIGKILL.name: ", most likely because memory was full",
    signal.SIGBUS.name: ", most likely because /dev/shm was full",
}
_TODO = {
    signal.SIGKILL.name: "Lower loader.num_workers or loader.prefetch_batches, or give the job more memory.",
    signal.SIGBUS.name: "Give /dev/shm more room (docker: --shm-size), or lower loader.num_workers or"
    " loader.prefetch_batches.",
    **dict.fromkeys(
        (signal.SIGHUP.name, signal.SIGINT.name, signal.SIGTERM.name),
        "Find out who sends this signal: the batch system, or somebody who ends processes.",
    ),
}
_TODO_OF_OTHERS = "Lower loader.num_workers or loader.prefetch_batches if memory ran out."


class WorkerDeaths:
    """Explains the deaths of the workers that write on a board, and lists the videos that they died of.

    A signal from outside, such as that of a full memory or of a full /dev/shm, may meet any worker at any video:
    nothing is listed then.

    Args:
        board: What the workers are decoding.
        videos: Their names.
        passed_by: The run's list; None where there is none, as in evaluation.
    """

    def __init__(self, board: DecodingBoard, videos: VideoNames, passed_by: PassedBy | None) -> None:
        self._board, self._videos, self._passed_by = board, videos, passed_by

    def explain(self, dead: Sequence[BaseProcess]) -> VideoMAETrainError:
        """Put the videos that the dead died of on the list, and make the error of the first of the dead.

        Args:
            dead: Workers that have ended without being asked to, at least one.
        """
        errors: list[VideoMAETrainError] = []
        for worker in dead:
            decoding, end = self._board.of(worker.pid or 0), _end_of(worker)
            if decoding is not None and end not in _ENDS_FROM_OUTSIDE:
                errors.append(self._list(decoding, end))
            elif decoding is not None:
                errors.append(self._not_the_video(f"it was decoding {self._videos.where(decoding[1])}", end))
        return errors[0] if errors else self._not_the_video("it was not decoding", _end_of(dead[0]))

    def _list(self, decoding: Decoding, end: str) -> DecodeError:
        position, sample_id = decoding
        timed_out = end == signal.SIGALRM.name
        came = "longer than loader.decode_timeout_sec" if timed_out else f"it ended a loader worker by {end}"
        error = DecodeError(
            where=self._videos.where(sample_id),
            cause=DecodeCause.TIMEOUT if timed_out else DecodeCause.CRASHED,
            came=came if position < 0 else f"{came}, at position {position}",
            todo="Add resume=auto: the run goes on and passes the video by."
            if self._passed_by
            else "Repair, re-encode or remove the file.",
        )
        if self._passed_by is not None:
            self._passed_by.add(make_fault(self._videos, sample_id, position, error))
        return error

    def _not_the_video(self, doing: str, end: str) -> TrainingError:
        return TrainingError(
            where="loader",
            came=f"a worker that ended by {end} while {doing}" + _LIKELY.get(end, ""),
            expected="workers that live as long as the run",
            todo=_TODO.get(end, _TODO_OF_OTHERS)
            + (" Then resume=auto goes on, with all videos." if self._passed_by else ""),
        )


def _end_of(worker: BaseProcess) -> str:
    code = worker.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
