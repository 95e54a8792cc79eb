"""The base of every configuration class, and the ranges that their numbers may lie in."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
HalfOpenShare = Annotated[float, Field(ge=0, lt=1)]


class Frozen(BaseModel):
    """Cannot be changed, and knows no other keys than its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")
