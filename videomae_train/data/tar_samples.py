"""Samples of tar shards that anybody wrote, in webdataset's naming, and what is wrong with some of them.

The key of a member is its name up to the first dot of the last part; members of one key that follow each other are one
sample: `run/7.mp4`, `run/7.cls`, `run/7.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from videomae_train.data.class_labels import plain_label
from videomae_train.data.sources.videos import VIDEO_EXTENSIONS
from videomae_train.data.tar_stream import TarMember
from videomae_train.errors import DecodeCause


class SampleCause(StrEnum):
    """Why a sample of a shard cannot be used, beside what decoding can find."""

    CUT_SHARD = "cut shard"
    DUPLICATE = "duplicate"
    NO_LABEL = "no label"
    NO_SAMPLE = "no sample"
    NO_VIDEO = DecodeCause.MISSING.value
    SEVERAL_VIDEOS = "several videos"


@dataclass(frozen=True)
class TarVideo:
    """A sample's video.

    Attributes:
        key: Of the sample.
        extension: Of the video, lower case, without the dot.
        offset: First byte of the video in the shard.
        content: The video.
        label: Class number or name, "" if it has none.
    """

    key: str
    extension: str
    offset: int
    content: bytes
    label: str


@dataclass(frozen=True)
class TarFault:
    """What cannot be used.

    Attributes:
        name: Key of the sample, or name of the member.
        cause: Its kind.
        detail: In words.
    """

    name: str
    cause: SampleCause
    detail: str


def read_samples(members: Iterable[TarMember], label_key: str | None) -> Iterator[TarVideo | TarFault]:
    """Group the members of a shard to samples.

    Args:
        members: In the order of the shard.
        label_key: The label is under this key of the sample's .json; None takes it from .cls, if there is one.
    """
    key, parts = "", list[tuple[str, TarMember]]()
    for member in members:
        if not _is_text(member.name):
            yield TarFault(_escaped(member.name), SampleCause.NO_SAMPLE, "a name that is not UTF-8")
            continue
        folder, _, name = member.name.removeprefix("./").rpartition("/")
        stem, dot, extension = name.partition(".")
        if not stem or not dot:
            yield TarFault(member.name, SampleCause.NO_SAMPLE, "a name that is not `key.extension`")
            continue
        next_key = f"{folder}/{stem}" if folder else stem
        if next_key != key and parts:
            yield _sample(key, parts, label_key)
            parts = []
        key = next_key
        parts.append((extension.lower(), member))
    if parts:
        yield _sample(key, parts, label_key)


def _sample(key: str, parts: list[tuple[str, TarMember]], label_key: str | None) -> TarVideo | TarFault:
    members = dict(parts)
    videos = [extension for extension in members if extension.rpartition(".")[2] in VIDEO_EXTENSIONS]
    names = ", ".join(extension for extension, _ in parts)
    if len(members) < len(parts):
        return TarFault(key, SampleCause.DUPLICATE, f"a member twice: {names}")
    if not videos:
        return TarFault(key, SampleCause.NO_VIDEO, f"no video among: {names}")
    if len(videos) > 1:
        return TarFault(key, SampleCause.SEVERAL_VIDEOS, f"one video expected: {names}")
    label = _label(members, label_key)
    if label_key is not None and not label:
        return TarFault(key, SampleCause.NO_LABEL, f"no {label_key!r} in .json")
    video = members[videos[0]]
    return TarVideo(key, videos[0], video.offset, video.content, label)


def _label(members: dict[str, TarMember], label_key: str | None) -> str:
    """Read a sample's label, "" if it has none; what is no text or whole number is none, and so is -1."""
    member = members.get("cls" if label_key is None else "json")
    if member is None:
        return ""
    try:
        value = member.content.decode() if label_key is None else json.loads(member.content)[label_key]
    except (ValueError, KeyError, TypeError):
        return ""
    label = str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return "" if label == "-1" or not _is_text(label) else plain_label(label)


def _is_text(text: str) -> bool:
    """Say whether UTF-8 can hold a text, which names of other encodings and escapes in JSON may prevent."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(name: str) -> str:
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
