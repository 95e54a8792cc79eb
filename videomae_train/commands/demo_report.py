"""The page that the demo ends in, and its sentences: scores as they are, whichever wins."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from videomae_train.config.grammar import quoted
from videomae_train.config.outcome import TrainOutcome
from videomae_train.config.reconstruct import Pictures, picture_clip
from videomae_train.data.decoding import decode_frames
from videomae_train.data.index import PackedDataset
from videomae_train.data.sampling import middle_dense_window
from videomae_train.data.transforms import as_clip
from videomae_train.evaluation.scoring import Accuracy
from videomae_train.model import VideoMAEForPreTraining, load_pretraining_model
from videomae_train.pictures import loss_curve, score_bars
from videomae_train.reporting import (
    Command,
    Commands,
    Figure,
    Report,
    Score,
    Scores,
    Section,
    Setting,
    Settings,
    write_report,
)
from videomae_train.training.records import read_metric


@dataclass(frozen=True)
class Trained:
    """A classifier of the demo.

    Attributes:
        name: "pretrained" or "from scratch".
        outcome: Of its training.
        accuracy: On the test videos.
    """

    name: str
    outcome: TrainOutcome
    accuracy: Accuracy


@dataclass(frozen=True)
class DemoResult:
    """Everything that the page tells.

    Attributes:
        out: The demo's folder.
        packed: The packed set.
        pretrained: Of the pretraining.
        trained: The classifiers.
        labels_per_class: Labelled training videos of each class.
        short: Whether the demo was cut short.
        seed: Of everything.
    """

    out: Path
    packed: Path
    pretrained: TrainOutcome
    trained: tuple[Trained, ...]
    labels_per_class: int
    short: bool
    seed: int

    @property
    def num_classes(self) -> int:
        """Motions to tell apart."""
        return len(PackedDataset.open(self.packed).classes)

    def sentences(self) -> tuple[str, ...]:
        """Say what came out, in plain words."""
        loss, mean = self.pretrained.latest["train/loss"], self.pretrained.baselines["predict_mean"]
        scores = " · ".join(
            f"{item.name} {item.accuracy.top1:.3f} (on {_share(item.accuracy)})" for item in self.trained
        )
        remarks = (
            f"Masked reconstruction: loss {loss:.3f} after {self.pretrained.steps} steps;"
            f" predicting the mean gives {mean:.3f}.",
            f"Top-1 with {self.labels_per_class} labels per class: {scores} · chance {1 / self.num_classes:.3f}.",
        )
        if self.short:
            return (*remarks, "The demo was cut short: it shows that the chain runs, not that it learns.")
        return (
            *remarks,
            "Minutes on a CPU show that the chain works, not which of the two wins: either may.",
        )


def write_demo_report(result: DemoResult) -> Path:
    """Draw the pictures and write the page; returns the page's path."""
    pictures = result.out / "pictures"
    curve, bars = pictures / "loss.png", pictures / "scores.png"
    loss_curve(
        curve,
        *read_metric(result.out / "pretrain", "train/loss"),
        {"predict the mean": result.pretrained.baselines["predict_mean"]},
        ylabel="mean squared error, normalised patches",
    )
    scores = {item.name: (item.accuracy.top1, None) for item in result.trained}
    score_bars(bars, scores, 1 / result.num_classes)
    reconstructions = _picture_test_videos(result, pictures)
    page = result.out / "report.html"
    write_report(page, _compose(result, curve, bars, reconstructions))
    return page


def _picture_test_videos(result: DemoResult, folder: Path) -> list[Pictures]:
    model = load_pretraining_model(result.pretrained.weights).eval()
    dataset = PackedDataset.open(result.packed)
    test = dataset.select("split/test")
    return [
        _picture(model, dataset, int(sample_id), folder / dataset.key(int(sample_id)), result.seed)
        for sample_id in test.sample_ids[[0, len(test) // 2]]
    ]


def _picture(
    model: VideoMAEForPreTraining, dataset: PackedDataset, sample_id: int, folder: Path, seed: int
) -> Pictures:
    num_frames = int(dataset.num_frames[sample_id])
    window = middle_dense_window(num_frames, model.config.num_frames, 2)
    where = dataset.where(sample_id)
    frames = decode_frames(dataset.read_bytes(sample_id), window, where=where, num_frames=num_frames)
    return picture_clip(
        model, as_clip(frames), folder=folder, mask="tube", ratios=(0.5, 0.75, 0.9), seed=seed,
        original_statistics=False, title="",
    )  # fmt: skip


def _compose(result: DemoResult, curve: Path, bars: Path, reconstructions: list[Pictures]) -> Report:
    caption = (
        "Top row: the input. Middle: what the model saw. Bottom: visible patches and the model's prediction. Hidden "
        "patches get their brightness and contrast from visible neighbours; nothing of the hidden pixels is used."
    )
    figures = [
        Figure(
            "Learning", "One point per report; the dashed line is what predicting the mean would give.", curve
        ),
        *(
            Figure(f"Reconstruction of test video {n}", caption, item.strip)
            for n, item in enumerate(reconstructions, start=1)
        ),
        *(
            Figure(
                f"Test video {n}, moving, 90 % hidden", "What the strip above shows, as it moves.", item.gif
            )
            for n, item in enumerate(reconstructions, 1)
        ),
        Figure("Scores", "The dashed line is chance. One seed, one selection of labels: no intervals.", bars),
    ]
    return Report(
        title="videomae-train: the main job on generated videos",
        summary=result.sentences(),
        sections=(
            Section("Scores", (Scores(_scores(result)),)),
            Section("Pictures", tuple(figures)),
            Section("Commands", (Commands(_commands(result.out)),)),
            Section("Settings", (Settings(_settings(result)),)),
        ),
        footer="Written by `videomae demo`.",
    )


def _scores(result: DemoResult) -> tuple[Score, ...]:
    conditions = f"{result.labels_per_class} labels per class, 2 views, one seed"
    scores = [
        Score(item.name, item.accuracy.top1, None, f"{conditions}; on {_share(item.accuracy)} videos")
        for item in result.trained
    ]
    return (*scores, Score("chance", 1 / result.num_classes, None, f"{result.num_classes} motions"))


def _settings(result: DemoResult) -> tuple[Setting, ...]:
    pretrained = result.pretrained
    return (
        Setting("pretraining", f"experiment=pretrain_demo, {pretrained.steps} steps, seed {result.seed}"),
        Setting("fine-tuning", f"experiment=finetune_demo, {result.trained[0].outcome.steps} steps each"),
        Setting("seconds of pretraining", f"{pretrained.seconds:.0f}"),
    )


def _commands(out: Path) -> tuple[Command, ...]:
    def given(key: str, folder: str) -> str:
        return shlex.quote(f"{key}={quoted(out / folder)}")

    return (
        Command("Look closer: curves, classes, single videos", f"videomae report {shlex.quote(str(out))}"),
        Command(
            "Pretrain on the same set again",
            f"videomae pretrain experiment=pretrain_demo {given('data.path', 'shards')}",
        ),
        Command(
            "Reconstruct a video of your own",
            f"videomae reconstruct {given('weights', 'pretrain/weights')} video=<file>",
        ),
        Command("Pack your own videos", "videomae pack <folder of class folders> <destination>"),
    )


def _share(accuracy: Accuracy) -> str:
    return f"{accuracy.num_scored} of {accuracy.num_videos}"
