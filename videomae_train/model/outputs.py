"""What the models return: tuples with Hugging Face's field names."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class EncoderOutput(NamedTuple):
    """Output of the bare encoder.

    Attributes:
        last_hidden_state: (B, V, D), visible tokens, or all N without a mask.
        hidden_states: Depth + 1 tensors of that shape, before the final norm; None unless asked for.
    """

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None


class PreTrainingOutput(NamedTuple):
    """Output of the pretraining model.

    Attributes:
        loss: Scalar, mean over hidden tokens.
        logits: (B, M, P), predictions in ascending order of hidden tokens.
        hidden_states: The encoder's, (B, V, D) each; None unless asked for.
    """

    loss: Tensor
    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None


class ClassificationOutput(NamedTuple):
    """Output of the classifier.

    Attributes:
        loss: Scalar; None without labels.
        logits: (B, K).
        hidden_states: The encoder's, (B, N, D) each; None unless asked for.
    """

    loss: Tensor | None
    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None
