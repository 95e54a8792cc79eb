"""`videomae evaluate`: from a typed configuration to the score of a classifier, or of one for each split."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from videomae_train.config.clips import clips_of_views
from videomae_train.config.devices import loader_options
from videomae_train.config.ranks import start_ranks
from videomae_train.config.schema import EvaluateConfig
from videomae_train.config.scores import describe_views, keys_of, save_scores, scored_videos
from videomae_train.data.datasets import EvaluationDataset
from videomae_train.data.index import PackedDataset
from videomae_train.data.layout import write_json
from videomae_train.data.loader import evaluation_loader
from videomae_train.data.options import ViewOptions
from videomae_train.errors import ConfigError
from videomae_train.evaluation.ranks import Ranks
from videomae_train.evaluation.recordings import recordings_of
from videomae_train.evaluation.scoring import Accuracy, VideoScores, measure_accuracy, score_videos
from videomae_train.model import load_classifier, read_config
from videomae_train.model.cards import CardScore, Videos, WeightsFacts, add_score, read_facts
from videomae_train.model.sources import local_folder
from videomae_train.types import EvaluationBatch

# Shows how far the first rank is, given its batches and how many videos they hold.
Show = Callable[[Iterable[EvaluationBatch], int], Iterable[EvaluationBatch]]


@dataclass(frozen=True)
class ScoredWeights:
    """Which weights were scored, and what they had to do with the videos before.

    Attributes:
        facts: As their card has it; None where there is none by a fine-tuning of ours.
        trained_on: Of the scored selection's videos, how many they were trained on; None if that is not known.
        chosen_on: The same for those by whose score they were chosen as the best.
        other_clips: How the clips lay that they were trained on, as far as those of the score differ; may be empty.
    """

    facts: WeightsFacts | None
    trained_on: int | None
    chosen_on: int | None
    other_clips: str = ""

    @property
    def words(self) -> str:
        """Say in words which weights they are."""
        return (
            "not known, they have no card of `videomae finetune`" if self.facts is None else self.facts.words
        )

    def remarks(self, num_videos: int) -> str:
        """Say what a reader of the score of so many videos has to know; empty where that is nothing."""
        chosen = (
            "chosen on these very videos"
            if self.chosen_on == num_videos
            else f"chosen on {self.chosen_on} of them"
        )
        trained = (
            "trained on these very videos"
            if self.trained_on == num_videos
            else f"trained on {self.trained_on} of them"
        )
        clips = f"trained on other clips ({self.other_clips})"
        said = ((trained, self.trained_on), (chosen, self.chosen_on), (clips, self.other_clips))
        return "; ".join(words for words, is_so in said if is_so)


@dataclass(frozen=True)
class Evaluation:
    """A score and what it stands on.

    Attributes:
        accuracy: The score.
        weights: Which weights.
        views: In words.
        card: The card that has the score now; None where none has.
    """

    accuracy: Accuracy
    weights: ScoredWeights
    views: str
    card: Path | None


@dataclass(frozen=True)
class Spread:
    """Mean over splits, and the standard deviation over them (n - 1); None for a single split."""

    mean: float
    std: float | None


@dataclass(frozen=True)
class SplitsEvaluation:
    """Scores of several splits, by name, and their means."""

    splits: Mapping[str, Evaluation]
    top1: Spread
    top5: Spread | None
    mean_class: Spread


def evaluate(
    config: EvaluateConfig, ranks: Ranks | None = None, show: Show = lambda batches, _: batches
) -> Evaluation | None:
    """Score a fine-tuned classifier, write scores.npz and metrics.json, and add the score to its card.

    Args:
        config: What is scored and how.
        ranks: Those of an evaluation before in this process, which cannot start anew; None starts them.
        show: Shows progress.

    Returns:
        None on ranks other than the first.

    Raises:
        ConfigError: The classes of model and data differ, nothing is selected, or, after the scores are written, the
            card cannot be.
        VideoMAETrainError: Nothing could be scored.
    """
    ranks = ranks or start_ranks(config)
    model = load_classifier(config.weights)

    def one_rank(rank: int, world: int, device: torch.device) -> VideoScores:
        share = scored_videos(config, model.config, rank=rank, world=world)
        loader = loader_options(config.loader, config.accelerator)
        batches = evaluation_loader(share, loader, batch_videos=config.batch_videos)
        shown = show(batches, len(share)) if rank == 0 else batches
        return score_videos(model.to(device), shown, device, config.precision)

    scores = ranks.score(one_rank)
    return (
        None
        if scores is None
        else _conclude(config, scored_videos(config, model.config, rank=0, world=1), scores)
    )


def evaluate_splits(
    configs: Mapping[str, EvaluateConfig],
    run: Path,
    show: Show = lambda batches, _: batches,
    on_scored: Callable[[str, Evaluation], None] = lambda split, evaluation: None,
) -> SplitsEvaluation | None:
    """Score each split's classifier on its split, and write the mean over splits to metrics.json.

    Args:
        configs: Of each split, by its name, as `splits.split_configs` makes them.
        run: Folder for the mean.
        show: Shows progress.
        on_scored: Told each score when it is there.

    Returns:
        None on ranks other than the first.

    Raises:
        ConfigError: As `evaluate`; of all splits before the first is scored.
        VideoMAETrainError: A split has nothing that could be scored.
    """
    ranks = start_ranks(next(iter(configs.values())))
    for config in configs.values():  # what is wrong with any of them is told before hours are spent
        scored_videos(config, read_config(config.weights), rank=0, world=1)
    scored: dict[str, Evaluation] = {}
    for split, config in configs.items():
        evaluation = evaluate(config, ranks, show)
        if evaluation is not None:
            scored[split] = evaluation
            on_scored(split, evaluation)
    if not scored:
        return None
    result = mean_over(scored)
    _write_mean(result, configs, run)
    return result


def _conclude(config: EvaluateConfig, videos: EvaluationDataset, scores: VideoScores) -> Evaluation:
    dataset = videos.selection.dataset
    assert isinstance(dataset, PackedDataset)
    recordings = recordings_of(keys_of(videos.selection, scores.sample_ids), config.data.recordings)
    accuracy, today = measure_accuracy(scores, recordings), datetime.now(UTC).date().isoformat()
    folder = local_folder(config.weights)
    facts = None if folder is None else read_facts(folder)
    weights = _scored_weights(facts, videos, config.data)
    views = describe_views(config.data, config.precision)
    selected = Videos(videos.selection.name, videos.selection.fingerprint, len(videos))
    further = {
        "view_options": _view_options(config),
        "precision": config.precision,
        "weights_are": weights.words,
        "weights_kind": None if facts is None else facts.kind,
        "weights_step": None if facts is None else facts.step,
        "trained_on": weights.trained_on,
        "chosen_on": weights.chosen_on,
        "remarks": weights.remarks(len(videos)),
        "date": today,
    }
    save_scores(config, videos.selection, scores, accuracy, further)
    card = None
    if config.card and folder is not None and facts is not None:
        score = CardScore(
            Path(str(config.data.path)).name, selected, views, accuracy.top1, accuracy.top1_interval,
            accuracy.interval_over, accuracy.top5, accuracy.mean_class, accuracy.num_scored, today,
            weights.remarks(len(videos)),
        )  # fmt: skip
        card = _add_to_card(config, folder, score)
    return Evaluation(accuracy, weights, views, card)


def _add_to_card(config: EvaluateConfig, folder: Path, score: CardScore) -> Path:
    try:
        return add_score(folder, score)
    except OSError as error:
        raise ConfigError(
            where="card",
            came=f"the model card in {folder} cannot be written: {error.strerror or error}",
            expected="a weights folder that can be written",
            todo=f"The scores are in {config.run}; card=false leaves the card as it is.",
        ) from error


def _view_options(config: EvaluateConfig) -> dict[str, object]:
    without = ("path", "selection", "recordings")
    return {name: value for name, value in asdict(config.data).items() if name not in without}


def _scored_weights(
    facts: WeightsFacts | None, videos: EvaluationDataset, views: ViewOptions
) -> ScoredWeights:
    if facts is None:
        return ScoredWeights(None, None, None)
    chosen = 0 if facts.chosen_on is None else _shared(facts.chosen_on, videos)
    other = "" if facts.clips is None else facts.clips.unlike(clips_of_views(views))
    return ScoredWeights(facts, _shared(facts.trained_on, videos), chosen, other)


def _shared(before: Videos, videos: EvaluationDataset) -> int | None:
    """Count the scored videos among others; None where these are not of this set."""
    dataset = videos.selection.dataset
    assert isinstance(dataset, PackedDataset)
    try:
        same = dataset.select(before.selection, per_class=before.per_class, seed=before.per_class_seed)
    except ConfigError:
        return None  # a set without that selection is another one
    if same.fingerprint != before.fingerprint:
        return None
    return len(np.intersect1d(same.sample_ids, videos.selection.sample_ids))


def mean_over(scored: Mapping[str, Evaluation]) -> SplitsEvaluation:
    """Average the scores of splits, by name; each split counts the same, whatever its size."""
    accuracies = [evaluation.accuracy for evaluation in scored.values()]
    top5 = [accuracy.top5 for accuracy in accuracies if accuracy.top5 is not None]
    return SplitsEvaluation(
        scored,
        _spread([accuracy.top1 for accuracy in accuracies]),
        _spread(top5) if top5 else None,
        _spread([accuracy.mean_class for accuracy in accuracies]),
    )


def _spread(values: list[float]) -> Spread:
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def _write_mean(result: SplitsEvaluation, configs: Mapping[str, EvaluateConfig], run: Path) -> None:
    rows = {
        split: {
            "folder": configs[split].run.name,
            "weights": str(configs[split].weights),
            "weights_are": evaluation.weights.words,
            "selection": configs[split].data.selection,
            **asdict(evaluation.accuracy),
            "remarks": evaluation.weights.remarks(evaluation.accuracy.num_videos),
        }
        for split, evaluation in result.splits.items()
    }
    record = {
        "top1": result.top1.mean,
        "top1_std": result.top1.std,
        "top5": None if result.top5 is None else result.top5.mean,
        "top5_std": None if result.top5 is None else result.top5.std,
        "mean_class": result.mean_class.mean,
        "mean_class_std": result.mean_class.std,
        "splits": rows,
    }
    write_json(run / "metrics.json", record, indent=1)
