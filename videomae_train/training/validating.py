"""Scores of a classifier while it is fine-tuned, and its best weights by them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from fractions import Fraction
from itertools import zip_longest
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from videomae_train.data.loader import BatchLoader
from videomae_train.errors import TrainingError
from videomae_train.evaluation.scoring import (
    VideoScores,
    cross_entropy,
    merge_scores,
    score_videos,
    top_k_share,
)
from videomae_train.model import VideoMAEForVideoClassification
from videomae_train.training.agreement import Agreement
from videomae_train.training.gradient_sync import share_buffers
from videomae_train.training.module import SteppingModule
from videomae_train.training.preemption import StopRequest
from videomae_train.types import EvaluationBatch

_MOST_NAMED = 5


class Best(NamedTuple):
    """The highest validation score so far, the earliest of equals: its optimizer step, and top-1 in [0, 1]."""

    step: int
    top1: float


class Validation(pl.Callback):
    """Reports val/top1, val/top5 (above five classes) and val/loss, and keeps the best weights.

    All ranks score their shares and meet once, at the end. Scored, and kept, are the weights that the run leaves
    behind: the averaged ones where it averages. Training does not notice: not a bit of it changes.

    The best weights lie in the checkpoints too. So a run that goes on from any of them has the best of the steps up to
    there, whatever an earlier attempt wrote into the folder after it.

    Args:
        steps_between: Optimizer steps from one validation to the next.
        batches: Gives this rank's share, anew each time.
        conditions: What the score stands on, in words: a best score by other conditions is not carried on.
        save: Writes the model as it is as the best one; on rank 0.
        stop: A signal gives a validation up, for the checkpoint that it asks for; the resumed run repeats it.
        agreement: Between the ranks.
    """

    def __init__(
        self,
        steps_between: Fraction,
        batches: Callable[[], BatchLoader],
        conditions: str,
        save: Callable[[Best], None],
        stop: StopRequest | None = None,
        agreement: Agreement | None = None,
    ) -> None:
        self._steps_between, self._batches, self._conditions = steps_between, batches, conditions
        self._save, self._stop, self._agreement = save, stop, agreement or Agreement()
        self._best: Best | None = None
        self._best_weights: Mapping[str, Tensor] | None = None  # on rank 0
        self._last_step: int | None = None  # before the first step of an attempt: as its checkpoint has it
        self._has_begun = self._has_named_faults = False

    def state_dict(self) -> dict[str, Any]:
        """Give the best so far for a checkpoint."""
        return {
            "conditions": self._conditions,
            "last_step": self._last_step,
            "best": None if self._best is None else tuple(self._best),
            "weights": self._best_weights,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best so far up again, if it is by the same videos and views."""
        if state_dict["conditions"] == self._conditions:
            self._last_step, weights = state_dict["last_step"], state_dict["weights"]
            self._best = Best(*state_dict["best"]) if state_dict["best"] else None
            if _is_first() and weights is not None:
                # They stay for long: copied, they keep no checkpoint mapped that is removed meanwhile.
                self._best_weights = {name: tensor.clone() for name, tensor in weights.items()}
        elif _is_first():
            was = state_dict["conditions"]
            print(
                f"validation: now by {self._conditions}; the best by {was} no longer counts", file=sys.stderr
            )

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Before the first step of an attempt: make up for what a signal gave up, and restore the best weights."""
        assert isinstance(pl_module, SteppingModule)
        if self._has_begun:
            return
        self._has_begun = True
        if self._best is not None:
            best = self._best
            with pl_module.aside():
                self._agreement.by_first(lambda: self._save_again(pl_module.model, best))
        # An attempt that was stopped while it made up for one took a step more before it saved.
        if self._last_step is None:
            self._last_step = max(0, pl_module.step - 1)
        if self._last_step < pl_module.step and self._is_due(pl_module, self._last_step):
            self._validate(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Score at the end of an optimizer step when it is time."""
        assert isinstance(pl_module, SteppingModule)
        if pl_module.at_step_boundary and self._is_due(pl_module, pl_module.step - 1):
            self._validate(trainer, pl_module)

    def _is_due(self, module: SteppingModule, since: int) -> bool:
        """Say whether an interval ended after a step, up to the present one, or training with that."""
        step, between = module.step, self._steps_between
        return step == module.plan.total_steps or step // between > since // between

    def _validate(self, trainer: pl.Trainer, module: SteppingModule) -> None:
        with module.aside(), module.averaged_weights():
            share_buffers(module.model)
            scores = self._score(module)
            if scores is None:
                return
            figures = validation_figures(scores)
            now = Best(module.step, figures["val/top1"])
            if self._best is None or now.top1 > self._best.top1:
                self._best = now
                self._agreement.by_first(lambda: self._keep(module.model, now))
        self._last_step = module.step
        module.validation = {**figures, "val/best_top1": self._best.top1, "val/best_step": self._best.step}
        for logger in module.loggers:
            logger.log_metrics(dict(figures), step=module.step)
            logger.save()
        if trainer.is_global_zero:
            self._say(scores, figures, module)

    def _score(self, module: SteppingModule) -> VideoScores | None:
        """Score the videos on all ranks; None where a signal came in between."""
        heeded = self._stop if module.step < module.plan.total_steps else None
        batches = self._batches()
        most = self._agreement.largest([len(batches)])[0]
        passed = _UntilStopped(heeded, _with_signs(batches, most, module))
        model = module.model
        assert isinstance(model, VideoMAEForVideoClassification)
        mine = score_videos(model, passed, module.device, module.options.update.precision)
        parts = self._agreement.gather((passed.was_stopped, mine))
        return None if any(stopped for stopped, _ in parts) else merge_scores(part for _, part in parts)

    def _keep(self, model: torch.nn.Module, best: Best) -> None:
        self._best_weights = {
            name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()
        }
        self._save(best)

    def _save_again(self, model: torch.nn.Module, best: Best) -> None:
        assert self._best_weights is not None, "rank 0 writes the checkpoints"
        with _holding(model, self._best_weights):
            self._save(best)

    def _say(self, scores: VideoScores, figures: Mapping[str, float], module: SteppingModule) -> None:
        assert self._best is not None
        top5 = f", top-5 {figures['val/top5']:.4f}" if "val/top5" in figures else ""
        is_best = self._best.step == module.step
        best = "the best so far" if is_best else f"best {self._best.top1:.4f} at step {self._best.step}"
        num_scored = len(scores.labels)
        print(
            f"validation, step {module.step}: top-1 {figures['val/top1']:.4f}{top5}, loss {figures['val/loss']:.4f}"
            f" on {num_scored} of {num_scored + len(scores.faults)} videos; {best}",
            file=sys.stderr,
        )
        if scores.faults and not self._has_named_faults:
            self._has_named_faults = True
            named = ", ".join(f"{fault.key} ({fault.cause})" for fault in scores.faults[:_MOST_NAMED])
            print(f"unreadable in validation: {named}", file=sys.stderr)


def validation_figures(scores: VideoScores) -> dict[str, float]:
    """Give what is reported of a validation.

    Raises:
        TrainingError: Not one video could be read.
    """
    if not len(scores.labels):
        raise TrainingError(
            where="validation",
            came=f"no readable video, {len(scores.faults)} unreadable",
            expected="at least one video to score",
            todo="`videomae check` says what is wrong with them; data.val_selection=null does without validation.",
        )
    top5 = {"val/top5": top_k_share(scores, 5)} if scores.probabilities.shape[1] > 5 else {}
    return {
        "val/top1": top_k_share(scores, 1),
        **top5,
        "val/loss": cross_entropy(scores),
        "val/num_faults": len(scores.faults),
    }


def _with_signs(
    batches: Iterable[EvaluationBatch], most: int, module: SteppingModule
) -> Generator[EvaluationBatch]:
    """Give the batches with a sign of getting on for each: on every rank as many as the largest share has.

    Who is behind can then be told by the number of signs.
    """
    for batch, _ in zip_longest(batches, range(most)):
        for sign in module.signs:
            sign("validating")
        if batch is not None:
            yield batch


class _UntilStopped:
    """Batches until a signal asks this process to stop."""

    def __init__(self, stop: StopRequest | None, batches: Iterable[EvaluationBatch]) -> None:
        self._stop, self._batches = stop, batches
        self.was_stopped = False

    def __iter__(self) -> Generator[EvaluationBatch]:
        for batch in self._batches:
            if self._stop is not None and self._stop.number:
                self.was_stopped = True
                return
            yield batch


@contextmanager
def _holding(model: torch.nn.Module, state: Mapping[str, Tensor]) -> Generator[None]:
    """Let a model hold other weights inside a block, and its own, to the bit, after it."""
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(state)
    try:
        yield
    finally:
        model.load_state_dict(own)


def _is_first() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
