"""Names of the same tensors in other systems, mapped to ours and back.

Ours are the published names of the pretraining model, used for the classifier too:
`encoder.patch_embed.proj`, `encoder.blocks.0.attn.qkv.weight`, `encoder.norm`, `encoder_to_decoder.weight`,
`mask_token`, `decoder.blocks.0...`, `decoder.norm`, `decoder.head`, and for classifiers `fc_norm` and `head`.
Nothing is ever transposed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

_STEMS = (
    ("encoder.patch_embed.proj.", "videomae.embeddings.patch_embeddings.projection."),
    ("encoder.blocks.", "videomae.encoder.layer."),
    ("encoder.norm.", "videomae.layernorm."),
    ("decoder.blocks.", "decoder.decoder_layers."),
    ("head.", "classifier."),
)
_INNER = (
    ("norm1.", "layernorm_before."),
    ("norm2.", "layernorm_after."),
    ("attn.q_bias", "attention.attention.q_bias"),
    ("attn.v_bias", "attention.attention.v_bias"),
    ("attn.proj.", "attention.output.dense."),
    ("mlp.fc1.", "intermediate.dense."),
    ("mlp.fc2.", "output.dense."),
)
_QKV = ("query", "key", "value")


def to_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our tensors as transformers has them on disk, with the fused qkv weight in three."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        stem, inner = _split_block(name)
        if inner == "attn.qkv.weight":
            for part, rows in zip(_QKV, tensor.chunk(3), strict=True):
                renamed[f"{_swap(stem, _STEMS)}attention.attention.{part}.weight"] = rows
        else:
            renamed[_swap(stem, _STEMS) + _swap(inner, _INNER)] = tensor
    return renamed


def from_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of a transformers 4 or 5 file as ours, with query, key and value fused into one weight.

    Biases may be named `q_bias` (4.x, and 5.x on disk) or `query.bias` (5.x in memory), projections may be
    split or fused, and the bare encoder may come without its `videomae.` prefix. Names that are none of these
    stay as they are, for the audit to find.
    """
    stems, inner_names = _reversed(_STEMS), _reversed(_INNER)
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        full = (
            f"videomae.{name}" if name.startswith(("embeddings.", "encoder.layer.", "layernorm.")) else name
        )
        stem, inner = _split_block(full)
        stem, inner = _swap(stem, stems), _swap(_bias_on_disk(inner), inner_names)
        part = re.fullmatch(r"attention\.attention\.(query|key|value)\.weight", inner)
        if part:
            parts.setdefault(f"{stem}attn.qkv.weight", {})[part[1]] = tensor
        else:
            renamed[stem + ("attn.qkv.weight" if inner == "attention.attention.qkv.weight" else inner)] = (
                tensor
            )
    for name, found in parts.items():
        renamed |= _fused(name, found)
    return renamed


def to_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename an encoder or classifier as timm's vision transformers have it, with one bias for q, k and v.

    The key's part of that bias is zero. The patch embedding stays a Conv3d, which timm's own models do not
    have.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        bare = name.removeprefix("encoder.")
        if name.endswith("attn.v_bias"):
            continue
        if name.endswith("attn.q_bias"):
            value = state[name.replace("q_bias", "v_bias")]
            renamed[bare.replace("q_bias", "qkv.bias")] = torch.cat((tensor, torch.zeros_like(tensor), value))
        else:
            renamed[bare] = tensor
    return renamed


def _fused(name: str, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stack query, key and value rows; an incomplete set stays in parts, which no model of ours has."""
    if set(found) == set(_QKV) and len({tensor.shape for tensor in found.values()}) == 1:
        return {name: torch.cat([found[part] for part in _QKV])}
    return {f"{name} ({part} only)": tensor for part, tensor in found.items()}


def _split_block(name: str) -> tuple[str, str]:
    """Split `...blocks.3.attn.proj.bias` into `...blocks.3.` and the rest; other names stay whole."""
    match = re.fullmatch(r"((?:.*\.)?(?:blocks|layer|decoder_layers)\.\d+\.)(.+)", name)
    return (match[1], match[2]) if match else (name, "")


def _swap(text: str, pairs: Iterable[tuple[str, str]]) -> str:
    for ours, theirs in pairs:
        if text.startswith(ours):
            return theirs + text.removeprefix(ours)
    return text


def _reversed(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(theirs, ours) for ours, theirs in pairs]


def _bias_on_disk(inner: str) -> str:
    for letter, part in (("q", "query"), ("v", "value")):
        if inner == f"attention.attention.{part}.bias":
            return f"attention.attention.{letter}_bias"
    return inner
