"""The shape of `videomae probe probe=knn`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, model_validator

from videomae_train.config.fields import Frozen, Positive, PositiveInt
from videomae_train.config.schema import with_clip_shape_of_weights
from videomae_train.data.options import LoaderOptions, NeighbourDataOptions
from videomae_train.evaluation.number_format import PrecisionName

setattr(NeighbourDataOptions, "__pydantic_config__", ConfigDict(extra="forbid"))  # noqa: B010  # as in `schema`


class KnnConfig(Frozen):
    """Who votes in `videomae probe probe=knn`.

    Attributes:
        neighbours: Nearest voting videos of each classified one, k; all where there are fewer.
        temperature: A vote counts exp(cosine / temperature).
    """

    neighbours: PositiveInt
    temperature: Positive


class NeighboursConfig(Frozen):
    """`videomae probe probe=knn`."""

    run: Path
    weights: Path
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: PositiveInt
    num_nodes: PositiveInt
    threads: PositiveInt | None
    precision: PrecisionName
    batch_videos: PositiveInt
    knn: KnnConfig
    data: NeighbourDataOptions
    loader: LoaderOptions

    @model_validator(mode="before")
    @classmethod
    def _derive_clip_shape(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("weights") is None or not isinstance(values.get("data"), dict):
            return values  # the validation that follows names what is missing
        return with_clip_shape_of_weights(values)
