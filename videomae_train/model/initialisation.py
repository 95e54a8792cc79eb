"""The published initial weights, for pretraining and for a classifier from scratch."""

from __future__ import annotations

from torch import Tensor, nn


def initialise_pretraining(encoder: nn.Module, decoder: nn.Module, mask_token: Tensor) -> None:
    """Start pretraining: Xavier-uniform linear layers (the fused qkv as one matrix), zero biases.

    The patch embedding and the layer between encoder and decoder keep PyTorch's own initialisation, as
    published. The mask token is normal with deviation 0.02, truncated at one deviation.
    """
    for part in (encoder, decoder):
        for layer in part.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                _zero_bias(layer)
    nn.init.trunc_normal_(mask_token, std=0.02, a=-0.02, b=0.02)


def initialise_classifier(encoder: nn.Module, deviation: float) -> None:
    """Start a classifier's encoder: normal linear weights, zero biases, PyTorch's own patch embedding."""
    for layer in encoder.modules():
        if isinstance(layer, nn.Linear):
            initialise_linear(layer, deviation)


def initialise_linear(layer: nn.Linear, deviation: float) -> None:
    """Draw normal weights (cut at an absolute 2, which is never met) and set the bias to zero."""
    nn.init.trunc_normal_(layer.weight, std=deviation, a=-2.0, b=2.0)
    _zero_bias(layer)


def _zero_bias(layer: nn.Linear) -> None:
    # PyTorch types a Linear's bias as always there, but layers made with bias=False have none.
    for name, parameter in layer.named_parameters(recurse=False):
        if name == "bias":
            nn.init.zeros_(parameter)
