"""Which mask, and is pretraining worth it: the sweep `study` on real clips and on generated motions, and what it shows.

python scripts/study.py --data $DATA --budget fair --out runs/study
python scripts/study.py --summary --out runs/study

On each set it runs `videomae pretrain sweep=study`, writes the report page, and says in study.md, in words, what the
intervals decide and what they leave open. Killed and started again it runs only what is missing. The summary is of all
budgets and sets that were run into one folder.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from videomae_train.benchmarks.study import BUDGETS, STUDY, SUMMARY, changes_of
from videomae_train.benchmarks.study_reading import read_result
from videomae_train.benchmarks.study_record import write_record
from videomae_train.benchmarks.study_words import write_summary, write_verdict
from videomae_train.commands.demo import make_motion_set
from videomae_train.config.grammar import quoted
from videomae_train.data.layout import write_json
from videomae_train.errors import ConfigError, VideoMAETrainError

MOTIONS, CLIPS = "motions", "clips"
SWEEPS = {"all": "study", "one": "study_worth"}
MOST_WORKERS = 8
SOURCE = "study-source.json"  # what a packed set was made of


def main() -> None:
    """Run the study, or sum it up, as the command line says."""
    asked = parse(sys.argv[1:])
    if asked.summary:
        print(write_summary(asked.out).read_text())
        return
    if asked.record is not None:
        print(f"{write_record(asked.out, asked.record)} files in {asked.record}")
        return
    out = asked.out / asked.budget
    failed = False
    for name, (packed, split) in sets(asked).items():
        words = sweep_words(name, packed, split, out / name, asked.budget, asked.masks)
        about = {"set": name, "budget": asked.budget, "data": str(packed.absolute())}
        failed |= study(about, words, out / name, asked.overrides)
    print(f"All budgets and sets so far: {write_summary(asked.out)}")
    sys.exit(int(failed))


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="packed set with split1, or a folder of videos")
    parser.add_argument("--splits", type=Path, help="lists of that folder's splits")
    parser.add_argument(
        "--budget", choices=BUDGETS, default="smoke",
        help="steps of pretraining and seeds; smoke only shows that everything runs (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--only", choices=(MOTIONS, CLIPS), help="one of the two sets; the other another day")
    parser.add_argument(
        "--masks", choices=SWEEPS, default="all",
        help="one: tube at 0.9 and from scratch only, to find the budget from which pretraining is worth it;"
        " the same command without it then adds the others",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("runs/study"), help="folder of all budgets (default: %(default)s)"
    )
    parser.add_argument("--summary", action="store_true", help="run nothing; sum up all that is in --out")
    parser.add_argument("--record", type=Path, help="run nothing; keep the figures of --out as FILE.tar.xz")
    parser.add_argument("overrides", nargs="*", help="of the sweep, such as sweep.at_once=2 launcher=slurm")
    asked = parser.parse_intermixed_args(words)
    if asked.only == CLIPS and asked.data is None:
        parser.error("--only clips wants --data, the clips")
    if asked.data is not None and not asked.data.exists():
        parser.error(f"--data {asked.data} is not there")
    if asked.data is not None and not is_packed(asked.data) and asked.splits is None:
        parser.error(
            f"--data {asked.data} is no packed set, and a folder of videos wants --splits, lists of split 1"
        )
    return asked


def sets(asked: argparse.Namespace) -> dict[str, tuple[Path, str]]:
    """Make or find the packed sets that are asked for, budgets' own where they differ: name -> folder and split."""
    found: dict[str, tuple[Path, str]] = {}
    if asked.data is not None and asked.only != MOTIONS:
        found[CLIPS] = (packed_clips(asked.data, asked.splits, asked.out / "data-clips"), "split1")
    if asked.only != CLIPS:
        num_videos = BUDGETS[asked.budget].motions
        motions = asked.out / f"data-motions-{num_videos}"
        if not is_packed(motions / "shards"):
            make_motion_set(motions, num_videos, 0, Console(file=sys.stderr))
        found[MOTIONS] = (motions / "shards", "split")
    return found


def packed_clips(data: Path, splits: Path | None, packed: Path) -> Path:
    """Take a packed set as it is, and pack a folder of videos once.

    Raises:
        ConfigError: Other videos have been packed there before.
    """
    if is_packed(data):
        return data
    source, note = (
        {"videos": str(data.resolve()), "splits": str(splits and splits.resolve())},
        packed / SOURCE,
    )
    if not is_packed(packed):
        code = videomae("pack", data, packed, *(["--splits", splits] if splits else []))
        if not is_packed(packed):
            sys.exit(code or 1)
        write_json(note, source)
    if note.exists() and (before := json.loads(note.read_text())) != source:
        raise ConfigError(
            where="--data, --splits", came=" and ".join(source.values()),
            expected=f"those that {packed} was packed from: {' and '.join(before.values())}",
            todo="Give another --out for a study on other videos.",
        )  # fmt: skip
    return packed


def is_packed(folder: Path) -> bool:
    """Say whether a folder is a packed set."""
    return (folder / "dataset.json").exists()


def study(about: Mapping[str, str], words: Sequence[str], sweep: Path, overrides: Sequence[str]) -> bool:
    """Run the sweep on one set and write what came of it; say whether a point failed."""
    code = videomae("pretrain", *words, *overrides)
    # Refused, stopped by a signal, or broken before it began: there is nothing new to tell.
    if code not in (0, 1) or not (sweep / SUMMARY).exists():
        sys.exit(code or 1)
    write_json(sweep / STUDY, {**about, "changes": changes_of(overrides)})
    result = read_result(sweep)
    print(write_verdict(sweep, result), f"In words: {sweep / 'study.md'}", sep="\n")
    title = f"Study on {result.name}, budget {result.budget}: pretraining against from scratch is {result.verdict}"
    reported = videomae("report", sweep, "--out", sweep.with_suffix(".html"), "--title", title)
    return (code, reported) != (0, 0)


def sweep_words(
    name: str, packed: Path, split: str, sweep: Path, budget_name: str, masks: str = "all"
) -> list[str]:
    """Give the command line of one set's sweep, without what the user adds."""
    budget = BUDGETS[budget_name]
    return [
        *(
            "-m",
            f"sweep={SWEEPS[masks]}",
            f"run={quoted(sweep)}",
            f"data.path={quoted(packed)}",
            f"loader.num_workers={workers()}",
        ),
        *(f"data.selection={split}/train", f"finetune.data.selection={split}/train"),
        *(f"evaluate.data.selection={split}/test", f"seed={budget.seeds}"),
        *(f"finetune.data.per_class={budget.per_class}", *steps("", budget.pretrain_steps)),
        *steps("finetune.", budget.finetune_steps),
        f"finetune.validation.every_steps={budget.finetune_steps}",  # the last weights are scored, not the best
        *(*direction(name), f"sweep.reuse=[{','.join(map(quoted, other_budgets(sweep)))}]"),
    ]


def other_budgets(sweep: Path) -> list[Path]:
    """Find the same set's sweeps at other budgets: on the same videos from scratch is the same at all."""
    found = sweep.parent.parent.glob(f"*/{sweep.name}/{SUMMARY}")
    return sorted(file.parent.absolute() for file in found if file.parent != sweep)


def workers() -> int:
    """Leave half of the processors to the model; with a GPU beside many of them, decoding has several."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, max(1, cores // 2))


def steps(prefix: str, count: int) -> list[str]:
    """Spend so many steps, a tenth of them on the warm-up."""
    return [f"{prefix}optim.steps={count}", f"{prefix}optim.warmup_steps={max(1, count // 10)}"]


def direction(name: str) -> list[str]:
    """Leave left and right apart where they are classes; the generated videos are short, too."""
    return ["finetune.data.flip=false", "data.stride=2"] if name == MOTIONS else []


def videomae(*arguments: object) -> int:
    """Run the command and give its exit code; what would stop this script stops the command, which saves first."""
    process = subprocess.Popen([sys.executable, "-m", "videomae_train.cli", *map(str, arguments)])
    before = {
        number: signal.signal(number, lambda *_: process.terminate())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    try:
        main()
    except VideoMAETrainError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
