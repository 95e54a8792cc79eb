"""Scores while fine-tuning: when, of which weights, on all ranks, without a trace in training; and the best weights."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from stepping import ADAMW, PLAIN, machine, make_plan
from torch import Tensor
from torch.utils.data import IterableDataset

from videomae_train.errors import ConfigError, TrainingError
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification
from videomae_train.randomness import keyed_rng
from videomae_train.training.checkpoint_files import newest_checkpoint
from videomae_train.training.checkpoints import SavingOptions, StepCheckpoint
from videomae_train.training.module import StepOptions, SteppingModule
from videomae_train.training.options import MixOptions, ValidationOptions
from videomae_train.training.preemption import StopRequest
from videomae_train.training.tasks import ClassificationTask
from videomae_train.training.trainer import build_strategy, leave_signals_to_us
from videomae_train.training.validating import Best, Validation
from videomae_train.types import EvaluationBatch, Fault, LabeledBatch

TOTAL = 6
VIDEOS = 11
CONFIG = VideoMAEConfig(
    image_size=16, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=48, head_init_scale=1.0, drop_path_rate=0.3, head_dropout=0.5, num_labels=6,
)  # fmt: skip
FAULT = Fault("broken", "shard-000000.tar", 99, -1, "truncated", "cut")


def clips_of(numbers: range, purpose: str) -> Tensor:
    return torch.stack(
        [
            torch.from_numpy(keyed_rng(purpose, number).integers(0, 256, (4, 3, 16, 16), dtype="uint8"))
            for number in numbers
        ]
    )


class Labeled(IterableDataset[LabeledBatch]):
    """An endless random set of six classes, this rank's share of it."""

    def __init__(self, first_step: int = 0) -> None:
        self._first_step = first_step

    def __iter__(self) -> Iterator[LabeledBatch]:
        rank, world = _ranks()
        start = 4 * self._first_step
        for number in range(start + rank * (4 // world), 10**9, 4):
            ids = range(number, number + 4 // world)
            labels = torch.tensor([i % 6 for i in ids])
            yield LabeledBatch(clips_of(ids, "train"), labels, torch.tensor(list(ids)), ())


def _ranks() -> tuple[int, int]:
    if not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


class ToScore:
    """Eleven videos to validate on, one at a time, this rank's share of them; `on` is called before each."""

    def __init__(self, faults: tuple[Fault, ...] = (), on: Callable[[], object] = lambda: None) -> None:
        self._faults, self._on = faults, on
        self._rank, self._world = _ranks()

    def __len__(self) -> int:
        return len(range(self._rank, VIDEOS, self._world))

    def __iter__(self) -> Iterator[EvaluationBatch]:
        for number in range(self._rank, VIDEOS, self._world):
            self._on()
            clips = clips_of(range(number, number + 1), "val")[:, None]
            torch.rand(3)  # as the start of workers does, which draws their seed
            faults = self._faults if number == 0 else ()
            yield EvaluationBatch(clips, torch.tensor([number % 6]), torch.tensor([number]), faults)


def module_of(world: int = 1, ema_decay: float | None = None) -> SteppingModule:
    torch.manual_seed(0)
    task = ClassificationTask(VideoMAEForVideoClassification(CONFIG), MixOptions(0.8, 1.0, 0.1), 6)
    options = StepOptions(
        seed=0, update=replace(PLAIN, ema_decay=ema_decay), log_every_steps=1, max_fault_ratio=0.0,
        max_nonfinite_steps=2,
    )  # fmt: skip
    plan = make_plan(4 // world, TOTAL, world)
    return SteppingModule(task, plan, ADAMW, options, on_step=lambda _: None)


class Kept:
    """What was saved as the best: step, score and weights of each save."""

    def __init__(self, module: SteppingModule) -> None:
        self._model = module.model
        self.saves: list[tuple[Best, dict[str, Tensor]]] = []

    def __call__(self, best: Best) -> None:
        self.saves.append((best, {name: t.clone() for name, t in self._model.state_dict().items()}))


def validation(
    kept: Callable[[Best], None],
    *,
    every: int = 2,
    batches: Callable[[], Any] = ToScore,
    conditions: str = "these",
    stop: StopRequest | None = None,
) -> Validation:
    return Validation(Fraction(every), batches, conditions, kept, stop)


class Figures(pl.Callback):
    """What stood in `module.validation` after each step."""

    def __init__(self) -> None:
        self.at: dict[int, Mapping[str, float]] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        assert isinstance(pl_module, SteppingModule)
        self.at[pl_module.step] = dict(pl_module.validation)


def train(
    folder: Path,
    module: SteppingModule,
    *also: pl.Callback,
    first_step: int = 0,
    until: int = TOTAL,
    every: int = 100,
) -> dict[str, Tensor]:
    """Train; callbacks come before the checkpoints', as in runs."""
    saving = StepCheckpoint(folder, SavingOptions(every, None, 9))
    world = module.plan.world_size
    trainer = pl.Trainer(
        accelerator="cpu", devices=world, strategy=build_strategy(machine(world), "fork"), max_steps=until,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, callbacks=[*also, saving], plugins=[saving.files],
    )  # fmt: skip
    ckpt = newest_checkpoint(folder) if first_step else None
    trainer.fit(module, torch.utils.data.DataLoader(Labeled(first_step), batch_size=None), ckpt_path=ckpt)
    return {name: tensor.clone() for name, tensor in module.model.state_dict().items()}


def assert_equal(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_training__does_not_change_by_a_bit(tmp_path: Path, ema_decay: float | None) -> None:
    straight = train(tmp_path / "without", module_of(ema_decay=ema_decay))
    module = module_of(ema_decay=ema_decay)
    looked_at = train(tmp_path / "with", module, validation(Kept(module), every=1))
    assert_equal(looked_at, straight)
    ours, theirs = (
        torch.load(tmp_path / name / f"step-{TOTAL:08d}.ckpt", weights_only=True)
        for name in ("with", "without")
    )
    assert_equal(ours.get("averaged_weights", {}), theirs.get("averaged_weights", {}))
    assert module.model.training


class Generators(pl.Callback):
    """States of the global generators at the end of each step; one stands before a validation, one after it."""

    def __init__(self) -> None:
        self.states: list[Any] = []

    def on_train_batch_end(self, *_: object) -> None:
        self.states.append(
            (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
        )


def test_generators__are_as_they_were(tmp_path: Path) -> None:
    module, before, after = module_of(), Generators(), Generators()
    train(
        tmp_path,
        module,
        before,
        validation(Kept(module), every=1, batches=lambda: ToScore(on=random.random)),
        after,
    )
    assert before.states == after.states


@pytest.mark.parametrize(
    ("videos", "options", "steps"),
    [
        (8, ValidationOptions(1.0, None, 1, 1), [2, 4, 6]),  # two steps of four are an epoch
        (100, ValidationOptions(None, 4, 1, 1), [4, 6]),  # the last one always
        (6, ValidationOptions(1.0, None, 1, 1), [2, 3, 5, 6]),  # 1.5, 3, 4.5 and 6 steps
        (1, ValidationOptions(1.0, None, 1, 1), [1, 2, 3, 4, 5, 6]),
    ],
)
def test_validation__comes_when_an_interval_ends(
    tmp_path: Path, videos: int, options: ValidationOptions, steps: list[int]
) -> None:
    module, scored = module_of(), []
    looking = Validation(
        options.steps_between(videos, 4),
        lambda: scored.append(module.step) or ToScore(),
        "these",
        Kept(module),
    )  # type: ignore[arg-type]
    train(tmp_path, module, looking)
    assert scored == steps


def test_interval__is_exact_where_an_epoch_ends_within_a_step() -> None:
    between = ValidationOptions(1.0, None, 1, 1).steps_between(100, 3)
    assert 100 // between == 3  # in floats 100 // (100 / 3) is 2


@pytest.mark.parametrize(
    "fields", [(1.0, 5, 1, 1), (None, None, 1, 1), (0.0, None, 1, 1), (None, -1, 1, 1), (1.0, None, 0, 1)]
)
def test_options__that_contradict_each_other_are_refused(fields: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError, match=r"validation\."):
        ValidationOptions(*fields)


def score_by_hand(state: Mapping[str, Tensor]) -> tuple[float, float, float]:
    model = VideoMAEForVideoClassification(CONFIG).eval()
    model.load_state_dict(state)
    with torch.no_grad():
        probabilities = model.classify(clips_of(range(VIDEOS), "val")).softmax(-1)
    labels = torch.arange(VIDEOS) % 6
    top1 = (probabilities.argmax(1) == labels).double().mean()
    top5 = (probabilities.topk(5).indices == labels[:, None]).any(1).double().mean()
    return float(top1), float(top5), float(-probabilities[range(VIDEOS), labels].log().mean())


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_figures__are_of_the_weights_that_the_run_leaves_behind(
    tmp_path: Path, ema_decay: float | None
) -> None:
    module, figures = module_of(ema_decay=ema_decay), Figures()
    train(tmp_path, module, validation(Kept(module)), figures)
    with module.averaged_weights():
        top1, top5, loss = score_by_hand(module.model.state_dict())
    last = figures.at[TOTAL]
    assert (last["val/top1"], last["val/top5"]) == (top1, top5)
    assert last["val/loss"] == pytest.approx(loss, rel=1e-5)


def test_best__is_the_highest_and_of_equals_the_earliest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.2, 0.5, 0.1, 0.5, 0.4, 0.3])
    monkeypatch.setattr(
        "videomae_train.training.validating.validation_figures",
        lambda _: {"val/top1": next(scores), "val/loss": 0.0, "val/num_faults": 0},
    )
    module, figures = module_of(ema_decay=0.5), Figures()
    kept = Kept(module)
    train(tmp_path, module, validation(kept, every=1), figures)
    assert [best for best, _ in kept.saves] == [Best(1, 0.2), Best(2, 0.5)]
    assert figures.at[TOTAL]["val/best_step"] == 2
    # What was saved is the average after two steps, to the bit.
    shorter = module_of(ema_decay=0.5)
    train(tmp_path / "shorter", shorter, until=2)
    with shorter.averaged_weights():
        assert_equal(kept.saves[-1][1], shorter.model.state_dict())


def test_unreadable_videos__are_counted_and_named_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    module, figures = module_of(), Figures()
    train(tmp_path, module, validation(Kept(module), batches=lambda: ToScore((FAULT,))), figures)
    said = capfd.readouterr().err
    assert said.count("on 11 of 12 videos") == 3
    assert said.count("unreadable in validation: broken (truncated)") == 1
    assert figures.at[TOTAL]["val/num_faults"] == 1
    assert module.faults == [], "those of training are another matter"


def test_nothing_readable__is_an_error(tmp_path: Path) -> None:
    nothing = EvaluationBatch(
        torch.zeros((0, 1, 4, 3, 16, 16), dtype=torch.uint8),
        torch.zeros(0).long(),
        torch.zeros(0).long(),
        (FAULT,),
    )
    module = module_of()
    with pytest.raises(TrainingError, match="no readable video, 1 unreadable"):
        train(tmp_path, module, validation(Kept(module), batches=lambda: [nothing]))


@pytest.fixture
def falling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that depend on nothing but the step: the best is at step 2, then at step 5."""

    def figures(self: Validation, module: SteppingModule) -> Any:
        return module.step

    by_step = {1: 0.1, 2: 0.6, 3: 0.2, 4: 0.3, 5: 0.9, 6: 0.4}
    monkeypatch.setattr(Validation, "_score", figures)
    monkeypatch.setattr(Validation, "_say", lambda *_: None)
    monkeypatch.setattr(
        "videomae_train.training.validating.validation_figures",
        lambda step: {"val/top1": by_step[step], "val/loss": 0.0, "val/num_faults": 0},
    )


def test_resumed_run__has_the_best_up_to_its_checkpoint(tmp_path: Path, falling: None) -> None:
    """Whatever an earlier attempt has written since: the folder is of step 5, the checkpoint of step 4."""
    first = module_of()
    earlier = Kept(first)
    train(tmp_path, first, validation(earlier, every=1), every=4, until=5)
    (tmp_path / "step-00000005.ckpt").unlink()
    module = module_of()
    kept = Kept(module)
    resumed = train(tmp_path, module, validation(kept, every=1), first_step=4)
    assert [best.step for best, _ in kept.saves] == [2, 5]
    assert_equal(kept.saves[0][1], earlier.saves[1][1])
    assert_equal(kept.saves[1][1], earlier.saves[2][1])
    assert_equal(resumed, train(tmp_path / "straight", module_of()))


def test_best_by_other_conditions__is_not_carried_on(
    tmp_path: Path, falling: None, capfd: pytest.CaptureFixture[str]
) -> None:
    first = module_of()
    train(tmp_path, first, validation(Kept(first), every=1), until=3)
    module = module_of()
    kept = Kept(module)
    train(tmp_path, module, validation(kept, every=1, conditions="others"), first_step=3, until=4)
    # The checkpoint's step has no score by the new conditions, and gets one.
    assert [best for best, _ in kept.saves] == [Best(3, 0.2), Best(4, 0.3)]
    assert "now by others; the best by these no longer counts" in capfd.readouterr().err


def stopped_in_validation(folder: Path, *, every: int, first_step: int = 0) -> int:
    """Train until a signal comes in the first validation; gives the step of the checkpoint that is left."""
    module = module_of()
    with StopRequest() as stop:
        asked = lambda: ToScore(on=lambda: stop.number or os.kill(os.getpid(), signal.SIGTERM))  # noqa: E731
        saving = StepCheckpoint(folder, SavingOptions(100, None, 9), stop=stop)
        looking = validation(Kept(module), every=every, batches=asked, stop=stop)
        trainer = pl.Trainer(
            accelerator="cpu", max_steps=TOTAL, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[looking, saving], plugins=[saving.files],
        )  # fmt: skip
        leave_signals_to_us(trainer)
        ckpt = newest_checkpoint(folder) if first_step else None
        data = torch.utils.data.DataLoader(Labeled(first_step), batch_size=None)
        trainer.fit(module, data, ckpt_path=ckpt)
    assert (saving.stopped_by, module.validation) == ("SIGTERM", {})
    return module.step


def test_signal__gives_a_validation_up_and_the_resumed_run_makes_up_for_it(tmp_path: Path) -> None:
    straight, figures = module_of(), Figures()
    train(tmp_path / "straight", straight, validation(Kept(straight)), figures)
    later, resumed = Figures(), module_of()
    assert stopped_in_validation(tmp_path, every=2) == 2
    train(tmp_path, resumed, validation(Kept(resumed)), later, first_step=2)
    assert later.at[3] == figures.at[2], "before the third step, of the weights after two"
    assert later.at[TOTAL] == figures.at[TOTAL]


def steps_scored_from(folder: Path, first_step: int) -> list[int]:
    module, scored = module_of(), list[int]()
    looking = validation(Kept(module), every=3, batches=lambda: scored.append(module.step) or ToScore())
    train(folder, module, looking, first_step=first_step)
    return scored


def test_second_signal__in_what_makes_up_for_a_validation_loses_none(tmp_path: Path) -> None:
    assert stopped_in_validation(tmp_path, every=3) == 3
    assert stopped_in_validation(tmp_path, every=3, first_step=3) == 4
    assert steps_scored_from(tmp_path, 4) == [4, 6]


@pytest.mark.parametrize("had_validation", [True, False])
def test_resumed_run__that_missed_no_validation_makes_up_for_none(
    tmp_path: Path, had_validation: bool
) -> None:
    module = module_of()
    train(tmp_path, module, *[validation(Kept(module), every=3)] * had_validation, until=4)
    assert steps_scored_from(tmp_path, 4) == [6]


@pytest.mark.parametrize(("rank", "is_kept"), [(0, True), (1, False)])
def test_best_weights__of_a_checkpoint_are_copied_by_rank_0_alone(
    monkeypatch: pytest.MonkeyPatch, rank: int, is_kept: bool
) -> None:
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: rank)
    loaded = validation(lambda _: None)
    weight = torch.ones(2)
    loaded.load_state_dict(
        {"conditions": "these", "last_step": 2, "best": (2, 0.5), "weights": {"a": weight}}
    )
    state = loaded.state_dict()
    assert state["best"] == (2, 0.5), "every rank knows what the best is"
    assert (state["weights"] is not None) == is_kept
    assert not is_kept or state["weights"]["a"].data_ptr() != weight.data_ptr()


class RankFigures(Figures):
    """Writes what each rank had, since a forked rank takes its objects with it; and the signs that each gave."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._signs = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        assert isinstance(pl_module, SteppingModule)
        pl_module.signs.append(self._count)

    def _count(self, doing: str) -> None:
        self._signs += doing == "validating"

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SteppingModule)
        loss = score_by_hand(pl_module.model.state_dict())[2]
        record = {"last": self.at[TOTAL], "loss": loss, "signs": self._signs}
        (self._folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(record))


def test_two_ranks__score_each_video_once_and_both_know_the_best(tmp_path: Path) -> None:
    module = module_of(world=2)
    train(tmp_path, module, validation(Kept(module), every=3), RankFigures(tmp_path))
    first, second = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert first["last"]["val/loss"] == pytest.approx(first["loss"], rel=1e-6)
    # As many signs on each rank, or those of smaller shares would seem to be behind.
    assert first["signs"] == 2 * 6
    assert second == first
