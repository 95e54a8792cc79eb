"""sweep.json: what a sweep is made of and how far it is, for whoever looks on and for its next start."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from videomae_train.commands.sweep_jobs import StageEnd
from videomae_train.config.sweep_plan import PlannedPoint, Stage, SweepPlan
from videomae_train.data.layout import write_json
from videomae_train.errors import ConfigError

SUMMARY = "sweep.json"


@dataclass(frozen=True)
class StageState:
    """How a stage stands: waiting, running, finished, failed or stopped, and why."""

    state: str
    reason: str = ""


class SweepRecord:
    """Keeps sweep.json of a sweep's folder true; several threads may report.

    Args:
        folder: The sweep's.
        plan: All it runs.
        command: The command line, for whoever wants to go on with it.
        known: Places of stages of earlier starts, which the file keeps.
    """

    def __init__(
        self, folder: Path, plan: SweepPlan, command: Sequence[str], known: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.plan = plan
        self._command = list(command)
        self._known = dict(known)
        self._states: dict[str, StageState] = {}
        self._lock = threading.Lock()

    def begin(self, stage: Stage) -> None:
        """Note that a stage runs."""
        self._note(stage, StageState("running"))

    def end(self, stage: Stage, end: StageEnd) -> None:
        """Note how a stage ended."""
        self._note(stage, StageState(end.state, end.reason))

    def state(self, stage: Stage) -> StageState:
        """Say how a stage stands."""
        if stage.is_finished:
            return StageState("finished")
        return self._states.get(stage.identity, StageState("waiting"))

    def point_state(self, planned: PlannedPoint) -> tuple[Stage, StageState]:
        """Give the stage that decides about a point, which is its first that is not finished, and its state."""
        for stage in planned.stages:
            if (state := self.state(stage)).state != "finished":
                return stage, state
        return planned.stages[-1], StageState("finished")

    def score(self, planned: PlannedPoint) -> dict[str, Any] | None:
        """Give what the last stage measured; None where it has not, or measures nothing."""
        file = planned.stages[-1].folder / "metrics.json"
        if not file.is_file():
            return None
        metrics = json.loads(file.read_text(encoding="utf-8"))
        return {name: metrics[name] for name in ("top1", "top1_interval", "num_scored") if name in metrics}

    def write(self) -> None:
        """Write the file as things stand."""
        with self._lock:
            write_json(self.folder / SUMMARY, self._content())

    def _note(self, stage: Stage, state: StageState) -> None:
        with self._lock:
            self._states[stage.identity] = state
            write_json(self.folder / SUMMARY, self._content())

    def _content(self) -> dict[str, object]:
        stages = [stage for planned in self.plan.points for stage in planned.stages]
        return {
            "command": self._command,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "points": {planned.point.name: self._point(planned) for planned in self.plan.points},
            "runs": {**self._known, **{stage.identity: self._place(stage) for stage in stages}},
        }

    def _point(self, planned: PlannedPoint) -> dict[str, object]:
        stage, state = self.point_state(planned)
        return {
            "state": state.state,
            "stage": stage.verb,
            "reason": state.reason,
            "score": self.score(planned),
            "overrides": [f"{each.label}={each.value}" for each in planned.point.settings],
            "stages": {each.verb: self._stage(each) for each in planned.stages},
        }

    def _stage(self, stage: Stage) -> dict[str, object]:
        state = self.state(stage)
        return {
            "run": self._place(stage), "identity": stage.identity, "state": state.state, "reason": state.reason,
            "command": ["videomae", stage.verb, *stage.words],
        }  # fmt: skip

    def _place(self, stage: Stage) -> str:
        return Path(os.path.relpath(stage.folder, self.folder)).as_posix()


def known_places(folder: Path, reuse: Sequence[str] = ()) -> dict[str, str]:
    """Read where stages lie: those that earlier starts of a sweep have placed, and what other sweeps have finished.

    Args:
        folder: The sweep's.
        reuse: Folders of other sweeps.

    Returns:
        Identity -> folder of the run, relative to the sweep's.

    Raises:
        ConfigError: A sweep.json is not what was written, or a folder to reuse has none.
    """
    # A run of another sweep that is gone would be made anew in a folder that is not ours.
    own = {
        identity: place
        for identity, place in _recorded_places(folder).items()
        if not place.startswith("../") or _is_finished(folder / place)
    }
    others = {
        identity: Path(os.path.relpath(Path(other) / place, folder)).as_posix()
        for other in reuse
        for identity, place in _recorded_places(_existing(Path(other))).items()
        if _is_finished(Path(other) / place)
    }
    return {**others, **own}


def _existing(other: Path) -> Path:
    if not (other / SUMMARY).is_file():
        raise ConfigError(
            where="sweep.reuse", came=str(other), expected=f"the folder of a sweep, with its {SUMMARY}",
            todo="Leave it out, or name the folder that the other sweep's run= named.",
        )  # fmt: skip
    return other


def _is_finished(run: Path) -> bool:
    return any((run / name).is_file() for name in ("metrics.json", "run.json"))


def _recorded_places(folder: Path) -> dict[str, str]:
    file = folder / SUMMARY
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["runs"])
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            where=str(file), came=f"no record of a sweep ({error})", expected="the file as a sweep wrote it",
            todo="Restore it, or give another run=<folder>.",
        ) from error  # fmt: skip


def refer_to_shared(folder: Path, plan: SweepPlan) -> None:
    """Write into the points' folders where those of their stages lie that are not there."""
    for planned in plan.points:
        for stage in planned.stages:
            own = folder / planned.point.name / stage.verb
            if own != stage.folder:
                own.mkdir(parents=True, exist_ok=True)
                write_json(own / "stage.json", {"run": os.path.relpath(stage.folder, own)})
