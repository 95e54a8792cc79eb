"""The model card of a weights folder, README.md: words for people, metadata that the Hub reads, facts that we read.

The facts are why a score can say which weights it is of, and on which of its videos they were trained or chosen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomae_train.errors import CheckpointError
from videomae_train.model.folder_files import CARD
from videomae_train.model.folders import replace_file

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

_FACTS = "videomae_train"  # key of the metadata
_SCORES_BEGIN, _SCORES_END = "<!-- scores, by videomae evaluate -->", "<!-- end of scores -->"
_NO_SCORES = "None yet: `videomae evaluate` adds them."
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Videos:
    """A selection of a packed set.

    Attributes:
        selection: Its name, such as "split1/train".
        fingerprint: Of its videos.
        num_videos: How many.
        per_class: So many of each class only; None for all.
        per_class_seed: Decides which ones.
    """

    selection: str
    fingerprint: str
    num_videos: int
    per_class: int | None = None
    per_class_seed: int = 0


@dataclass(frozen=True)
class TrainedClips:
    """How the frames of a clip lie in its video, and how they were resized.

    Attributes:
        is_whole: Whether each clip spans the whole video; else by one of the next two.
        stride: Frames of the video from one frame of the clip to the next.
        frame_interval_sec: Seconds, likewise.
        antialias: Whether pictures were shrunk with an antialiasing filter.
    """

    is_whole: bool
    stride: int | None
    frame_interval_sec: float | None
    antialias: bool

    def unlike(self, other: TrainedClips) -> str:
        """Say in words how these clips are, as far as others differ; empty where those are like them.

        >>> TrainedClips(False, 2, None, True).unlike(TrainedClips(False, 4, None, True))
        'stride 2'
        """
        pace = (self.is_whole, self.stride, self.frame_interval_sec)
        said: list[str] = []
        if pace != (other.is_whole, other.stride, other.frame_interval_sec):
            said.append(
                "over the whole video" if self.is_whole
                else f"stride {self.stride}" if self.stride is not None else f"{self.frame_interval_sec:g} s apart"
            )  # fmt: skip
        if self.antialias != other.antialias:
            said.append("with antialias" if self.antialias else "without antialias")
        return ", ".join(said)


@dataclass(frozen=True)
class WeightsFacts:
    """Which weights of a fine-tuning run a folder holds.

    Attributes:
        step: Optimizer step that they are of.
        total_steps: Steps that the run was to take.
        ema_decay: Decay of the moving average that they are; None for the step's own weights.
        trained_on: The videos whose labels they were trained on.
        chosen_on: The videos by whose score they were chosen as the best; None for the last step's.
        chosen_by: Views of that score, in words.
        chosen_top1: That score, in [0, 1].
        clips: How the clips lay; None on cards that do not say.
    """

    step: int
    total_steps: int
    ema_decay: float | None
    trained_on: Videos
    chosen_on: Videos | None = None
    chosen_by: str | None = None
    chosen_top1: float | None = None
    clips: TrainedClips | None = None

    @property
    def kind(self) -> str:
        """Say "best" or "last"."""
        return "last" if self.chosen_on is None else "best"

    @property
    def words(self) -> str:
        """Say in words which weights they are."""
        average = "" if self.ema_decay is None else f", moving average with decay {self.ema_decay}"
        if self.chosen_on is None:
            return f"the last step's, {self.step} of {self.total_steps}{average}"
        return (
            f"the best, of step {self.step} of {self.total_steps}{average}: top-1 {self.chosen_top1:.4f}"
            f" in validation on {self.chosen_on.selection} ({self.chosen_on.num_videos} videos, {self.chosen_by})"
        )


@dataclass(frozen=True)
class CardScore:
    """A score with all that it stands on; the same set, selection and views again replace it on the card.

    Attributes:
        dataset: Name of the set.
        videos: What was scored.
        views: In words.
        top1: In [0, 1].
        top1_interval: Its 95 % interval.
        interval_over: What that is over, such as "104 videos" or "21 recordings".
        top5: None with five classes or fewer.
        mean_class: Mean over classes.
        num_scored: Videos that could be read.
        date: When it was measured, ISO 8601.
        remarks: What a reader has to know, such as that weights were chosen on these videos; may be empty.
    """

    dataset: str
    videos: Videos
    views: str
    top1: float
    top1_interval: tuple[float, float]
    interval_over: str
    top5: float | None
    mean_class: float
    num_scored: int
    date: str
    remarks: str


def new_card(
    title: str,
    *,
    rows: Mapping[str, str],
    settings: str,
    name: str,
    started_from: str | None,
    facts: WeightsFacts | None,
) -> str:
    """Write a card without scores, Markdown.

    Args:
        title: Heading.
        rows: What was run, name to value.
        settings: The same in full, YAML.
        name: The model's, for its scores.
        started_from: Weights that training started from; named in the metadata where it is a hub id.
        facts: Of a classifier; with them the card has a place for scores.
    """
    from huggingface_hub import ModelCardData

    is_hub_id = (
        started_from is not None and _HUB_ID.fullmatch(started_from) and not Path(started_from).exists()
    )
    extra: dict[str, Any] = {} if facts is None else {_FACTS: {"name": name, **asdict(facts)}}
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=None if facts is None else "video-classification",
        tags=["video", "videomae", "videomae-train"],
        base_model=started_from if is_hub_id else None,
        **extra,
    )
    table = "\n".join(f"| {row} | {value} |" for row, value in rows.items())
    scores = "" if facts is None else f"## Scores\n\n{_SCORES_BEGIN}\n{_NO_SCORES}\n{_SCORES_END}\n\n"
    about = f"# {title}\n\n| | |\n|---|---|\n{table}\n\n"
    return f"---\n{data.to_yaml()}\n---\n\n{about}{scores}## Configuration\n\n```yaml\n{settings}```\n"


def read_facts(folder: Path) -> WeightsFacts | None:
    """Read which weights a folder holds; None where it has no card of a fine-tuning of ours.

    Raises:
        CheckpointError: There is such a card, and it is damaged.
    """
    held = _read_data(folder / CARD)
    values = None if held is None else held.to_dict().get(_FACTS)
    if values is None:
        return None
    try:
        fields = {name: value for name, value in values.items() if name != "name"}
        for name in ("trained_on", "chosen_on"):
            fields[name] = None if fields[name] is None else Videos(**fields[name])
        if fields.get("clips") is not None:
            fields["clips"] = TrainedClips(**fields["clips"])
        return WeightsFacts(**fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder / CARD, error) from error


def add_score(folder: Path, score: CardScore) -> Path:
    """Put a score on the card of a weights folder that has facts, in the place of one by the same conditions.

    Returns:
        The card's file.

    Raises:
        CheckpointError: The card is damaged, or its marks around the scores are gone.
        OSError: The folder cannot be written.
    """
    from huggingface_hub import ModelCard

    file = folder / CARD
    data = _read_data(file)
    assert data is not None, "the folder has facts"
    kept = [result for result in data.eval_results or [] if _conditions(result) != _conditions_of(score)]
    data.eval_results = [*kept, *_results(score)]
    data.model_name = data.model_name or data.to_dict()[_FACTS]["name"]
    text = ModelCard(file.read_text("utf-8"), ignore_metadata_errors=True).text
    before, begin, rest = text.partition(_SCORES_BEGIN)
    _, end, after = rest.partition(_SCORES_END)
    if not begin or not end:
        raise _damaged(file, ValueError(f"{_SCORES_BEGIN} and {_SCORES_END} are not both there"))
    table = _table(data.eval_results)
    body = f"{before}{begin}\n{table}\n{end}{after}"
    replace_file(file, f"---\n{data.to_yaml()}\n---\n{body}".encode())
    return file


def _read_data(file: Path) -> ModelCardData | None:
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    try:
        data = ModelCard(file.read_text("utf-8")).data
    except FileNotFoundError:
        return None
    except (ValueError, YAMLError) as error:
        raise _damaged(file, error) from error
    return data  # pyright: ignore[reportReturnType]  # a ModelCard's data is a ModelCardData


def _conditions(result: EvalResult) -> tuple[str | None, ...]:
    return result.dataset_revision, result.dataset_split, result.metric_config


def _conditions_of(score: CardScore) -> tuple[str | None, ...]:
    return score.videos.fingerprint, score.videos.selection, score.views


def _results(score: CardScore) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    args: dict[str, Any] = {
        "videos": f"{score.num_scored} of {score.videos.num_videos}",
        "interval_95": [round(end, 4) for end in score.top1_interval],
        "interval_over": score.interval_over,
        "date": score.date,
        "remarks": score.remarks,
    }
    metrics = {"top-1": score.top1, "top-5": score.top5, "mean class accuracy": score.mean_class}
    return [
        EvalResult(
            task_type="video-classification",
            # The Hub wants an id here.
            dataset_type=re.sub(r"[^\w.-]+", "-", score.dataset),
            dataset_name=score.dataset,
            dataset_split=score.videos.selection,
            dataset_revision=score.videos.fingerprint,
            metric_type="accuracy",
            metric_name=name,
            metric_value=round(value, 6),
            metric_config=score.views,
            metric_args=args if name == "top-1" else None,
        )
        for name, value in metrics.items()
        if value is not None
    ]


def _table(results: Sequence[EvalResult]) -> str:
    rows: dict[tuple[str | None, ...], dict[str, Any]] = {}
    for result in results:
        row = rows.setdefault(_conditions(result), {"set": result.dataset_name})
        row[str(result.metric_name)] = result.metric_value
        row |= result.metric_args or {}
    head = ("videos", "views", "top-1", "95 % interval", "top-5", "mean class", "scored", "date", "remarks")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for (_, selection, views), row in rows.items():
        low, high = row["interval_95"]
        over = f" over {row['interval_over']}" if "interval_over" in row else ""  # not on earlier cards
        top5 = f"{row['top-5']:.4f}" if "top-5" in row else "-"
        cells = (
            f"{row['set']} {selection}", views, f"{row['top-1']:.4f}", f"{low:.4f} to {high:.4f}{over}", top5,
            f"{row['mean class accuracy']:.4f}", row["videos"], row["date"], row["remarks"],
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _damaged(file: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        where=str(file),
        came=f"{type(error).__name__}: {error}",
        expected="the card as videomae-train wrote it",
        todo="Restore its metadata and marks; or remove the file, and nothing is known of the weights.",
    )
