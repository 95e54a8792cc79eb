"""Placing weights into a model with an account of every tensor on both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn

from videomae_train.errors import CheckpointError


class Fate(StrEnum):
    """What became of a tensor."""

    PLACED = "placed"
    DROPPED = "dropped"
    FRESH = "fresh"


@dataclass(frozen=True)
class TensorNote:
    """One line of a weights report.

    Attributes:
        name: The tensor, under our names.
        shape: Its shape.
        fate: Placed in the model, dropped from the source, or fresh in the model.
        reason: Why it was dropped or is fresh; empty for placed ones.
    """

    name: str
    shape: tuple[int, ...]
    fate: Fate
    reason: str = ""


@dataclass(frozen=True)
class WeightsReport:
    """Account of every tensor of a source and of the model it went into.

    Attributes:
        source: Where the weights came from.
        notes: One per tensor.
        suspicious: Findings that are allowed, but probably not meant.
    """

    source: str
    notes: tuple[TensorNote, ...]
    suspicious: tuple[str, ...] = ()

    def names(self, fate: Fate) -> tuple[str, ...]:
        """List the tensors that met a fate."""
        return tuple(note.name for note in self.notes if note.fate is fate)

    def rows(self) -> tuple[tuple[Fate, int, str, str], ...]:
        """Sum the account up: fate, number of tensors, part of the model, reason."""
        counted = Counter((note.fate, _part(note.name), note.reason) for note in self.notes)
        return tuple((fate, count, part, why) for (fate, part, why), count in counted.items())

    def table(self) -> str:
        """Write the account as text, tensors of one part and fate in one row."""
        lines = [f"{fate:8} {count:4} {part:24} {why}".rstrip() for fate, count, part, why in self.rows()]
        return "\n".join([self.source, *lines, *(f"suspicious: {finding}" for finding in self.suspicious)])


def place_weights(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str,
    drop: Mapping[str, str],
    fresh: Mapping[str, str],
    allow: Collection[str] = (),
) -> WeightsReport:
    """Copy weights into a model, or refuse all of them.

    Args:
        model: Filled in place, once every tensor is accounted for.
        state: The source's tensors, under our names.
        source: Where they came from, for the report and for errors.
        drop: Name prefix to reason: source tensors that are not wanted.
        fresh: Name prefix to reason: model tensors that may keep their initial values.
        allow: Exact names that may be missing, extra or of another shape; they end up fresh or dropped.

    Returns:
        The fate of every tensor.

    Raises:
        CheckpointError: A tensor is missing, extra, of another shape, or holds a NaN or infinity; all are
            listed.
    """
    wanted = dict(model.state_dict())
    dropped = {name: why for name in state if (why := _reason(name, drop)) is not None}
    dropped |= {name: "allowed by name" for name in allow if name in state and not _fits(name, state, wanted)}
    given = {name: tensor for name, tensor in state.items() if name not in dropped}
    excused = {**fresh, **dict.fromkeys(allow, "allowed by name")}
    absent = {name: _reason(name, excused) for name in wanted if name not in given}
    _refuse(source, _problems(given, wanted, absent))
    with torch.no_grad():
        for name, tensor in given.items():
            wanted[name].copy_(tensor)
    notes = [TensorNote(name, tuple(tensor.shape), Fate.PLACED) for name, tensor in given.items()]
    notes += [TensorNote(name, tuple(state[name].shape), Fate.DROPPED, why) for name, why in dropped.items()]
    notes += [
        TensorNote(name, tuple(wanted[name].shape), Fate.FRESH, str(why)) for name, why in absent.items()
    ]
    return WeightsReport(source, tuple(notes), _suspicions(given))


def _part(name: str) -> str:
    """Name the part of the model that a tensor belongs to, such as `encoder.blocks.*`."""
    pieces = name.split(".")
    return ".".join(pieces[: 2 if len(pieces) > 2 else 1]) + (".*" if len(pieces) > 1 else "")


def _fits(name: str, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    return name in wanted and state[name].shape == wanted[name].shape


def _reason(name: str, reasons: Mapping[str, str]) -> str | None:
    return next((why for prefix, why in reasons.items() if name.startswith(prefix)), None)


def _problems(
    given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], absent: Mapping[str, str | None]
) -> list[str]:
    found = [f"{name} is missing" for name, why in absent.items() if why is None]
    for name, tensor in given.items():
        if name not in wanted:
            found.append(f"{name} has no place in the model")
        elif tensor.shape != wanted[name].shape:
            found.append(f"{name} is {tuple(tensor.shape)}, not {tuple(wanted[name].shape)}")
        elif not bool(torch.isfinite(tensor).all()):
            found.append(f"{name} holds NaN or infinity")
    return found


def _refuse(source: str, problems: list[str]) -> None:
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise CheckpointError(
            where=source,
            came=f"{len(problems)} tensors do not fit: {shown}",
            expected="each tensor once, under its name and in its shape",
            todo="Check that the configuration is this file's, or allow each tensor with --allow NAME.",
        )


def _suspicions(given: Mapping[str, Tensor]) -> tuple[str, ...]:
    biases = [tensor for name, tensor in given.items() if name.endswith(("attn.q_bias", "attn.v_bias"))]
    if biases and not any(bool(tensor.any()) for tensor in biases):
        return ("all query and value biases are zero: an untrained model, or a file that lost them",)
    return ()
