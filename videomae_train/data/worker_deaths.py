"""Why a loader's worker died, as an error that names the video it was decoding."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from multiprocessing.process import BaseProcess

from videomae_train.data.passed_by import PassedBy
from videomae_train.data.stand_ins import make_fault
from videomae_train.data.video_table import VideoNames
from videomae_train.data.watch import Decoding, DecodingBoard
from videomae_train.errors import DecodeCause, DecodeError, TrainingError, VideoMAETrainError


class WorkerDeaths:
    """Explains the deaths of the workers that write on a board, and lists the videos that they died of.

    Args:
        board: What the workers are decoding.
        videos: Their names.
        passed_by: The run's list; None where there is none, as in evaluation.
    """

    def __init__(self, board: DecodingBoard, videos: VideoNames, passed_by: PassedBy | None) -> None:
        self._board, self._videos, self._passed_by = board, videos, passed_by

    def explain(self, dead: Sequence[BaseProcess]) -> VideoMAETrainError:
        """Put the videos that the dead were decoding on the list, and make the error of the first of them.

        Args:
            dead: Workers that have ended without being asked to, at least one.
        """
        errors: list[VideoMAETrainError] = []
        for worker in dead:
            decoding = self._board.of(worker.pid or 0)
            if decoding is not None:
                errors.append(self._list(decoding, _end_of(worker)))
        return errors[0] if errors else _without_a_video(_end_of(dead[0]))

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


def _end_of(worker: BaseProcess) -> str:
    code = worker.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _without_a_video(end: str) -> TrainingError:
    return TrainingError(
        where="loader",
        came=f"a worker that ended by {end} while it was not decoding",
        expected="workers that live as long as the run",
        todo="Lower loader.num_workers or loader.prefetch_batches if memory ran out; add resume=auto to go on.",
    )
