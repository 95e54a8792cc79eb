"""sweep.json: what a sweep is made of and how far it is, for whoever looks on and for its next start."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from videomae_train.commands.sweep_jobs import StageEnd
from videomae_train.config.sweep_folders import place_in
from videomae_train.config.sweep_plan import PlannedPoint, Stage, SweepPlan
from videomae_train.config.sweep_points import Setting
from videomae_train.data.layout import write_json
from videomae_train.training.heartbeats import host_name

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
        arrays: Slurm's job arrays of earlier starts, which the file keeps.
        shared: Settings that all points have beside their own.
    """

    def __init__(
        self,
        folder: Path,
        plan: SweepPlan,
        command: Sequence[str],
        known: Mapping[str, str],
        arrays: Sequence[str] = (),
        shared: Sequence[Setting] = (),
    ) -> None:
        self.folder = folder
        self.plan = plan
        self._command = list(command)
        self._known = dict(known)
        self._arrays = list(arrays)
        self._shared = list(shared)
        self._states: dict[str, StageState] = {}
        self._lock = threading.Lock()

    def add_array(self, array: str) -> None:
        """Note that a batch was submitted to Slurm."""
        with self._lock:
            self._arrays.append(array)
            self._write()

    def begin(self, stage: Stage) -> None:
        """Note, and say, that a stage runs."""
        self._note(stage, StageState("running"))
        self._say(stage, "begins")

    def end(self, stage: Stage, end: StageEnd) -> None:
        """Note, and say, how a stage ended."""
        self._note(stage, StageState(end.state, end.reason))
        self._say(stage, f"{end.state}: {end.reason}" if end.reason else end.state)

    def _say(self, stage: Stage, words: str) -> None:
        stages = {each.identity: each for planned in self.plan.points for each in planned.stages}
        finished = sum(each.is_finished for each in stages.values())
        users = [
            planned.point.name
            for planned in self.plan.points
            if any(each.identity == stage.identity for each in planned.stages)
        ]
        others = f" (and {len(users) - 1} more)" if len(users) > 1 else ""
        # A full disk, or nobody who reads any more, is no reason to leave the rest.
        with contextlib.suppress(OSError):
            print(
                f"{datetime.now().astimezone():%H:%M:%S}  {finished}/{len(stages)}  {stage.verb} of {users[0]}{others}"
                f" {words}",
                flush=True,
            )

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
        try:
            metrics = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # a broken one is told on the page, and ends no other point
            return None
        return {name: metrics[name] for name in ("top1", "top1_interval", "num_scored") if name in metrics}

    def write(self) -> None:
        """Write the file as things stand."""
        with self._lock:
            self._write()

    def _note(self, stage: Stage, state: StageState) -> None:
        with self._lock:
            self._states[stage.identity] = state
            self._write()

    def _write(self) -> None:
        """Write the file, or say why not: a full disk ends runs, but not what looks after all of them."""
        try:
            write_json(self.folder / SUMMARY, self._content())
        except OSError as error:
            with contextlib.suppress(OSError):
                print(
                    f"{self.folder / SUMMARY} is not up to date, and is written again later: {error}",
                    file=sys.stderr,
                )

    def _content(self) -> dict[str, object]:
        stages = [stage for planned in self.plan.points for stage in planned.stages]
        return {
            "command": self._command,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": host_name(),
            "process": os.getpid(),
            "shared": _overrides(self._shared),
            "points": {planned.point.name: self._point(planned) for planned in self.plan.points},
            "runs": self._runs(stages),
            "arrays": self._arrays,
        }

    def _runs(self, stages: Sequence[Stage]) -> dict[str, str]:
        """Say where each stage lies; what lay in the place of another before is there no more."""
        places = {stage.identity: self._place(stage) for stage in stages}
        taken = set(places.values())
        return {**{one: place for one, place in self._known.items() if place not in taken}, **places}

    def _point(self, planned: PlannedPoint) -> dict[str, object]:
        stage, state = self.point_state(planned)
        return {
            "state": state.state,
            "stage": stage.verb,
            "reason": state.reason,
            "score": self.score(planned),
            "overrides": _overrides(planned.point.settings),
            "stages": {each.verb: self._stage(each) for each in planned.stages},
        }

    def _stage(self, stage: Stage) -> dict[str, object]:
        state = self.state(stage)
        return {
            "run": self._place(stage), "identity": stage.identity, "state": state.state, "reason": state.reason,
            "command": ["videomae", stage.verb, *stage.words],
        }  # fmt: skip

    def _place(self, stage: Stage) -> str:
        return place_in(self.folder, stage.folder)


def _overrides(settings: Sequence[Setting]) -> list[str]:
    return [f"{each.label}={each.value}" for each in settings]
