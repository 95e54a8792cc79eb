"""Pictures and short videos as addresses that hold their whole content."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import NamedTuple

from videomae_train.errors import ConfigError

# What stands at which byte of a file.
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftyp", "video/mp4"),
)


class Inlined(NamedTuple):
    """A picture inside the page.

    Attributes:
        uri: data: address.
        is_video: Whether a video element shows it, and no image.
    """

    uri: str
    is_video: bool


def inline_media(picture: bytes | Path, where: str) -> Inlined:
    """Put a PNG, GIF, WebP or mp4 into an address.

    Args:
        picture: Its content, or a file that is read now.
        where: What the picture is for; an error begins with it.

    Raises:
        ConfigError: The picture is missing or of another kind.
    """
    try:
        content = picture.read_bytes() if isinstance(picture, Path) else picture
    except OSError as error:
        raise ConfigError(
            where=where,
            came=f"{picture}: {error.strerror}",
            expected="a readable PNG, GIF, WebP or mp4 file",
            todo="Write the picture before the page.",
        ) from error
    for place, signature, media_type in _SIGNATURES:
        if content[place : place + len(signature)] == signature:
            uri = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
            return Inlined(uri, media_type.startswith("video/"))
    raise ConfigError(
        where=where,
        came=f"{len(content)} bytes that start with {content[:8]!r}",
        expected="a PNG, GIF, WebP or mp4",
        todo="Write it with videomae_train.pictures.",
    )
