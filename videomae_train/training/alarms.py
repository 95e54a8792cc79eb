"""When a run does not learn, or waits for its data: what its reports say of that, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from videomae_train.errors import ConfigError
from videomae_train.evaluation.number_format import PrecisionName

# float16 looks for its loss scale from 2^16 downwards and tries a larger one every 2,000 steps; each try may cost one.
_FP16_SEARCH_STEPS, _FP16_STEPS_BETWEEN_TRIES = 16, 1000


@dataclass(frozen=True)
class AlarmOptions:
    """When reports are alarming.

    Attributes:
        reports: Reports in a row that must agree, where one alone says little.
        data_bound_share: Share of the time spent waiting for data past which data is the limit, in [0, 1].
    """

    reports: int
    data_bound_share: float

    def __post_init__(self) -> None:
        """Refuse what would never or always be alarming.

        Raises:
            ConfigError: A number is out of range.
        """
        if self.reports < 1 or not 0 < self.data_bound_share <= 1:
            raise ConfigError(
                where="watch.alarms",
                came=f"reports={self.reports}, data_bound_share={self.data_bound_share}",
                expected="at least 1 report, and a share above 0, at most 1 (which is never reached)",
                todo="Leave out the one that is wrong.",
            )


@dataclass(frozen=True)
class Baseline:
    """What a pretraining loss is compared with.

    Attributes:
        predict_mean: Loss of predicting the mean, as `evaluation.reconstruction.BaselineLosses` has it.
        after_steps: Steps that the loss has to get below it.
        margin: How far below, as a share of it.
    """

    predict_mean: float
    after_steps: int
    margin: float


@dataclass(frozen=True)
class Expected:
    """What a run's reports are judged by.

    Attributes:
        options: When they are alarming.
        precision: float16 alone may hold back a few steps.
        global_batch: Videos of a step.
        max_fault_ratio: Share of unreadable videos past which the run stops.
        baseline: Of a pretraining run; None where there is no such loss.
    """

    options: AlarmOptions
    precision: PrecisionName
    global_batch: int
    max_fault_ratio: float
    baseline: Baseline | None = None


class Report(NamedTuple):
    """The figures of one report that alarms look at; names as in `train/...`."""

    step: int
    loss: float
    data_wait_ratio: float
    num_skipped: float
    num_faults: float


class Alarm(NamedTuple):
    """Something that a person should look at now.

    Attributes:
        name: at_baseline, data_bound, not_finite, faults or inverted_mask.
        step: When it was raised.
        words: What is wrong, with its figures.
        todo: What to look at.
    """

    name: str
    step: int
    words: str
    todo: str


def find_alarms(reports: Sequence[Report], expected: Expected) -> list[Alarm]:
    """Judge the latest reports of a run.

    Args:
        reports: Of this attempt, oldest first, without the very first one, which holds the start of the workers; those
            before the last `options.reports` are not looked at.
        expected: What they are judged by.
    """
    if not reports:
        return []
    latest = reports[-expected.options.reports :]
    found = [_not_finite(latest[-1], expected), _faults(latest[-1], expected)]
    if len(latest) == expected.options.reports:
        found += [_at_baseline(latest, expected.baseline), _data_bound(latest, expected.options)]
    return [alarm for alarm in found if alarm is not None]


def check_visible(step: int, num_visible: int, promised: int, num_tokens: int) -> Alarm | None:
    """Compare the tokens that the encoder sees of each clip with what the recipe's mask leaves visible.

    Args:
        step: The run's.
        num_visible: Of a batch, per clip.
        promised: By masking.ratio on this grid.
        num_tokens: Of a clip.
    """
    if num_visible == promised:
        return None
    turned = num_visible == num_tokens - promised
    return Alarm(
        "inverted_mask",
        step,
        f"the encoder sees {num_visible} of {num_tokens} tokens where the recipe promises {promised}"
        + (": exactly those that should be hidden; the mask is inverted" if turned else ""),
        "True in a mask means hidden; look at the mask sampler, then start anew: what was learnt so far is of no use.",
    )


def check_hidden(step: int, is_seen: bool) -> Alarm | None:
    """Tell that the encoder is given what it is to predict, as `leaks.encoder_sees_hidden_pixels` found out."""
    if not is_seen:
        return None
    return Alarm(
        "inverted_mask",
        step,
        "the encoder is given pixels of the very tokens that it is to predict, whatever the number of both",
        "Compare visible_idx and hidden_idx of a batch with the tokens that the model gathers, then start anew: copying"
        " is all that is learnt.",
    )


def _not_finite(report: Report, expected: Expected) -> Alarm | None:
    allowed = 0
    if expected.precision == "fp16":
        allowed = _FP16_SEARCH_STEPS + report.step // _FP16_STEPS_BETWEEN_TRIES
    if report.num_skipped <= allowed:
        return None
    return Alarm(
        "not_finite",
        report.step,
        f"{report.num_skipped:.0f} of {report.step} steps had a loss or gradient that was not finite and were held"
        " back",
        "Lower optim.base_lr, lengthen the warm-up, set optim.clip_grad_norm, or train with trainer.precision=bf16.",
    )


def _faults(report: Report, expected: Expected) -> Alarm | None:
    share = report.num_faults / (report.step * expected.global_batch + report.num_faults)
    if share <= expected.max_fault_ratio / 2:
        return None
    return Alarm(
        "faults",
        report.step,
        f"{share:.2%} of the videos could not be read; the run stops at {expected.max_fault_ratio:.2%}",
        "See faults.json in the run's folder; `videomae check` lists every bad video of a set.",
    )


def _at_baseline(reports: Sequence[Report], baseline: Baseline | None) -> Alarm | None:
    step = reports[-1].step
    if baseline is None or step < baseline.after_steps:
        return None
    limit = baseline.predict_mean * (1 - baseline.margin)
    if any(report.loss < limit for report in reports):
        return None
    return Alarm(
        "at_baseline",
        step,
        f"after {step} steps the loss is {reports[-1].loss:.4f}, and predicting the mean costs"
        f" {baseline.predict_mean:.4f}: the model has learnt nothing about the videos",
        "Look at train/lr and train/grad_norm: a rate far too high or low, or a warm-up that is still under way; then"
        " at a reconstruction (`videomae reconstruct` takes the newest checkpoint as weights).",
    )


def _data_bound(reports: Sequence[Report], options: AlarmOptions) -> Alarm | None:
    if any(report.data_wait_ratio <= options.data_bound_share for report in reports):
        return None
    mean = sum(report.data_wait_ratio for report in reports) / len(reports)
    return Alarm(
        "data_bound",
        reports[-1].step,
        f"{mean:.0%} of the time of the last {len(reports)} reports went into waiting for data",
        "Raise loader.num_workers, pack with --short-side and --keyframe-interval, set data.crop_on=device or more"
        " data.views; `videomae bench` measures the loader alone.",
    )
