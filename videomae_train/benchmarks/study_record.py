"""The record of a study: all its figures without its weights and pictures, small enough to be kept beside the code.

Unpacked it is a study's folder again: it is summed up and reported, and what is missing in it can be run. Trainings
that unfinished points need are not in it, since they would be nothing to go on from without their weights.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from videomae_train.benchmarks.study import STUDY, SUMMARY
from videomae_train.errors import ConfigError

# Pictures show the videos, which may not be passed on; weights and checkpoints are large.
_TEXTS = {
    *(STUDY, SUMMARY, "study.md", "stage.json", "attempt.json", "recipe.json", "run.json"),
    *("metrics.json", "metrics.csv", "alarms.json", "faults.json"),
}
_KEPT = {*_TEXTS, "scores.npz"}


def write_record(out: Path, archive: Path) -> int:
    """Write a study's record, the same bytes for the same files.

    This machine is not in it: its name is `elsewhere`, the study's folder `study`, those of its sets `data`.

    Args:
        out: Holds <budget>/<set>, as for `write_summary`, and other folders of sweeps with a study.json.
        archive: Ends in .tar.xz.

    Returns:
        Number of files in it.

    Raises:
        ConfigError: There is no study.
    """
    files = list(_kept_files(out))
    if not files:
        raise ConfigError(
            where=str(out), came="no study", expected=f"<budget>/<set>/{STUDY}, as the study writes it",
            todo="Run one: make study BUDGET=smoke.",
        )  # fmt: skip
    names = dict.fromkeys(_data_folders(out), "data") | {str(out.absolute()): "study"}
    with tarfile.open(archive, "w:xz") as tar:
        for file in files:
            content = _without_machine(file, names)
            member = tarfile.TarInfo(file.relative_to(out).as_posix())
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return len(files)


def _kept_files(out: Path) -> Iterator[Path]:
    for sweep in (study.parent for study in _studies(out)):
        left_out = _runs_of_unfinished_points(sweep)
        found = sorted(file for file in sweep.rglob("*") if file.name in _KEPT and file.is_file())
        yield from (file for file in found if left_out.isdisjoint(file.parents))


def _runs_of_unfinished_points(sweep: Path) -> set[Path]:
    points = json.loads((sweep / SUMMARY).read_text())["points"].values()
    stages = [stage for point in points if point["score"] is None for stage in point["stages"].values()]
    return {sweep / stage["run"] for stage in stages}


def _studies(out: Path) -> list[Path]:
    return sorted(out.glob(f"*/*/{STUDY}"))


def _data_folders(out: Path) -> set[str]:
    return {json.loads(study.read_text())["data"] for study in _studies(out)}


def _without_machine(file: Path, names: Mapping[str, str]) -> bytes:
    if file.name not in _TEXTS:
        return file.read_bytes()
    text = file.read_text(encoding="utf-8")
    if file.name in ("attempt.json", SUMMARY):
        text = json.dumps({**json.loads(text), "host": "elsewhere"}, indent=2, ensure_ascii=False)
    for path in sorted(names, key=len, reverse=True):  # one may lie within the other
        text = text.replace(path, names[path])
    return text.encode()
