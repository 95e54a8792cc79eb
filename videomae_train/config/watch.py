"""The shape of `watch`: what tells whether a run learns."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, model_validator

from videomae_train.config.fields import Frozen, HalfOpenShare, NonNegativeInt, PositiveInt
from videomae_train.errors import ConfigError
from videomae_train.training.alarms import AlarmOptions
from videomae_train.training.options import ProbeOptions

# As in `config.schema`.
for _component in (AlarmOptions, ProbeOptions):
    setattr(_component, "__pydantic_config__", ConfigDict(extra="forbid"))  # noqa: B010


class WatchConfig(Frozen):
    """What tells during pretraining whether the run learns.

    Attributes:
        alarms: When reports are alarming.
        baseline_after_steps: Steps that the loss has to get below that of predicting the mean.
        baseline_margin: How far below, as a share of that loss.
        probe_every_steps: Optimizer steps between two probes of the features; null for none.
        probe: The labelled set of these.
        reconstruct_every_steps: Optimizer steps between two reconstructions of one video; end for one after the last
            step, null for none.
    """

    alarms: AlarmOptions
    baseline_after_steps: NonNegativeInt
    baseline_margin: HalfOpenShare
    probe_every_steps: PositiveInt | None
    probe: ProbeOptions
    reconstruct_every_steps: PositiveInt | Literal["end"] | None

    @model_validator(mode="after")
    def _check_probe(self) -> Self:
        if (self.probe_every_steps is None) != (self.probe.path is None):
            raise ConfigError(
                where="watch.probe_every_steps, watch.probe.path",
                came=f"{self.probe_every_steps} and {self.probe.path}",
                expected="both, or neither",
                todo="Give watch.probe.path=<labelled packed set> and watch.probe_every_steps=<steps>.",
            )
        return self


class FinetuneWatchConfig(Frozen):
    """What tells during fine-tuning whether something is wrong: when reports are alarming."""

    alarms: AlarmOptions
