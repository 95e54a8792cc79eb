"""The study in words: what each set's sweep shows and what it does not, and one summary over sets and budgets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from videomae_train.benchmarks.study import (
    ASKED,
    BUDGETS,
    SCRATCH,
    STUDY,
    SUMMARY,
    Difference,
    Hits,
    StudyResult,
    has_no_spread,
    named,
    top1,
)
from videomae_train.benchmarks.study_reading import read_result
from videomae_train.data.layout import write_json
from videomae_train.errors import ConfigError
from videomae_train.evaluation.seeds import seed_interval
from videomae_train.pictures import PlacedScore, scores_by_budget
from videomae_train.reporting.comparing import within_reach
from videomae_train.reporting.wording import hours_text

_LIMITS = """\
Better or worse is said only where both intervals lie on one side of zero, at a fair budget, in a study that is
complete; else it is inconclusive. The one is over seeds (Student's t; with few labels it covers which videos have
them), the other over what happened to be in the test (a bootstrap; videos cut from one recording are drawn together).
Every comparison is for itself: of many without any difference, some are expected to be decided by chance. Nothing here
says how larger models, longer training or other videos behave.
"""


def write_verdict(sweep: Path, result: StudyResult) -> str:
    """Write study.md into a sweep's folder, and the verdict into its record, where `videomae report` finds it.

    Returns:
        The verdict in a sentence.
    """
    sentence = f"Pretraining ({ASKED}) against from scratch on {result.name}, budget {result.budget}: {result.verdict}."
    record = json.loads((sweep / SUMMARY).read_text())
    reasons = [*result.obstacles, *(_line(result, each) for each in _all_differences(result))]
    write_json(sweep / SUMMARY, {**record, "verdict": {"words": sentence, "reasons": reasons}})
    (sweep / "study.md").write_text("\n".join(_study_lines(result)))
    return sentence


def write_summary(out: Path) -> Path:
    """Write summary.md and summary.png about all studies in a folder, whatever their budgets and sets.

    Args:
        out: Holds <budget>/<set>/study.json.

    Raises:
        ConfigError: There is no study, or one is broken.
    """
    found = [
        read_result(file.parent) for budget in BUDGETS for file in sorted(out.glob(f"{budget}/*/{STUDY}"))
    ]
    results = [each for each in found if each.scores]
    if not results:
        raise ConfigError(
            where=str(out), came="no study with a score", expected=f"<budget>/<set>/{STUDY}, as the study writes it",
            todo="Run one: make study BUDGET=smoke.",
        )  # fmt: skip
    tried = [budget for budget in BUDGETS if any(each.budget == budget for each in results)]
    panels = {name: _lines_of(of_set, tried) for name, of_set in _by_set(results).items()}
    ticks = [f"{budget}\n{BUDGETS[budget].pretrain_steps:,} steps" for budget in tried]
    levels = {each.name: {"commonest class": each.floor} for each in results if each.floor is not None}
    scores_by_budget(out / "summary.png", panels, ticks, levels)
    (out / "summary.md").write_text("\n".join(_summary_lines(results)))
    return out / "summary.md"


def _study_lines(result: StudyResult) -> Iterator[str]:
    yield f"# Study on {result.name}, budget {result.budget}: {result.verdict}\n"
    yield from (f"{obstacle}\n" for obstacle in result.obstacles)
    yield "| trained | labels | top-1, mean over seeds | 95 % interval over seeds | seeds |\n|---|---|---|---|---|"
    for labels, masks in result.scores.items():
        for mask, seeds in masks.items():
            score = _score(0.0, list(seeds.values()))
            yield f"| {mask} | {named(labels)} | {score.score:.3f} | {_interval(score.interval)} | {len(seeds)} |"
    if result.videos is not None:
        number = len(result.videos.keys)
        yield f"\nAlways naming the commonest class scores {result.floor:.3f}. All are on the same {number} videos."
    yield f"All trainings together took {hours_text(result.hours)}.\n"
    yield f"Differences of {ASKED}, paired over seeds and over videos, with 95 % intervals:\n"
    yield from (f"- {_line(result, each)}" for each in _all_differences(result))
    yield f"\n{_LIMITS}"


def _summary_lines(results: Sequence[StudyResult]) -> Iterator[str]:
    yield "# Is pretraining worth it? Scores against budgets\n"
    yield "![Scores against budgets](summary.png)\n"
    for name, of_set in _by_set(results).items():
        yield f"## {name}\n"
        yield from (f"{_smallest(of_set, labels)}\n" for labels in _labels(of_set))
        yield f"| budget | hours of training | labels | {ASKED} | {SCRATCH} | difference | |"
        yield "|---|---|---|---|---|---|---|"
        yield from (_row(result, labels) for result in of_set for labels in result.scores)
        largest = of_set[-1]
        yield f"\nWhat {ASKED} was not shown to be better than, at budget {largest.budget}:\n"
        undecided = [each for each in _all_differences(largest) if largest.decide(each) != "better"]
        yield from (f"- {_line(largest, each)}" for each in undecided)
        yield from (["- nothing: it is better than all"] if not undecided else [])
        yield ""
    yield _LIMITS


def _smallest(results: Sequence[StudyResult], labels: str) -> str:
    """Say at which budget pretraining first beats from scratch, and where it would below a fair one."""
    asked = [result for result in results if labels in result.scores]
    winning = next((result for result in asked if result.answer(labels) == "better"), None)
    above = next((result for result in asked if result.is_above(labels)), None)
    if winning is None:
        tried = ", ".join(result.budget for result in asked)
        said = (
            f"With {named(labels)} pretraining beats from scratch beyond both intervals at no budget tried"
            f" ({tried})."
        )
    else:
        said = (
            f"With {named(labels)} the smallest budget tried at which pretraining beats from scratch beyond both"
            f" intervals is {winning.budget} (the whole sweep: {hours_text(winning.hours)} of training)."
        )
    if above in (None, winning):
        return said
    return f"{said} At {above.budget} both intervals lie above zero too, but {_lowered(above.obstacles[0])}."


def _lowered(sentence: str) -> str:
    return f"{sentence[0].lower()}{sentence[1:].rstrip('.')}"


def _row(result: StudyResult, labels: str) -> str:
    scores = result.scores[labels]
    cells = [_cell(list(scores.get(mask, {}).values())) for mask in (ASKED, SCRATCH)]
    difference = next((each for each in result.differences(labels) if each.other == SCRATCH), None)
    by = "–" if difference is None else f"{difference.mean:+.3f} ({_both(result, difference)})"
    why = ""
    if result.answer(labels) == "inconclusive" and result.obstacles:
        why = f": {_lowered(result.obstacles[0])}"
    start = f"| {result.budget} | {hours_text(result.hours)} | {named(labels)} |"
    return f"{start} {' | '.join(cells)} | {by} | {result.answer(labels)}{why} |"


def _cell(scores: Sequence[Hits]) -> str:
    if not scores:
        return "–"
    score = _score(0.0, scores)
    return f"{score.score:.3f} ({_interval(score.interval)})"


def _line(result: StudyResult, difference: Difference) -> str:
    start = f"With {named(difference.labels)}, {ASKED} against {difference.other}"
    return f"{start}: {difference.mean:+.3f} ({_both(result, difference)}), {result.decide(difference)}"


def _both(result: StudyResult, difference: Difference) -> str:
    seeds = f"{difference.num_seeds} seed{'s' if difference.num_seeds > 1 else ''}"
    videos = result.videos.words if result.videos else "videos"
    low, high = difference.over_videos
    return f"{_interval(difference.over_seeds, '+')} over {seeds}, {low:+.3f} to {high:+.3f} over {videos}"


def _interval(interval: tuple[float, float] | None, sign: str = "") -> str:
    if interval is None:
        return "no interval"
    if has_no_spread(interval):
        return "each seed the same, no interval"
    return f"{interval[0]:{sign}.3f} to {interval[1]:{sign}.3f}"


def _score(place: float, seeds: Sequence[Hits]) -> PlacedScore:
    scores = [top1(hits) for hits in seeds]
    return PlacedScore(place, float(np.mean(scores)), within_reach(seed_interval(scores)), len(scores))


def _all_differences(result: StudyResult) -> list[Difference]:
    return [each for labels in result.scores for each in result.differences(labels)]


def _by_set(results: Sequence[StudyResult]) -> dict[str, list[StudyResult]]:
    names = sorted({result.name for result in results})
    return {name: [result for result in results if result.name == name] for name in names}


def _labels(results: Sequence[StudyResult]) -> list[str]:
    return list(dict.fromkeys(labels for result in results for labels in result.scores))


def _lines_of(results: Sequence[StudyResult], tried: Sequence[str]) -> dict[str, list[PlacedScore]]:
    """Give the lines of a set's panel: pretrained and from scratch, for each amount of labels."""
    lines: dict[str, list[PlacedScore]] = {}
    for labels in _labels(results):
        for mask in (ASKED, SCRATCH):
            for result in results:
                if seeds := result.scores.get(labels, {}).get(mask):
                    score = _score(tried.index(result.budget), list(seeds.values()))
                    lines.setdefault(f"{mask}, {named(labels)}", []).append(score)
    return lines
