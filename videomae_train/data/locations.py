"""Where things are: a folder or file of this machine, or an address behind a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from videomae_train.errors import ConfigError

_FILE_URL = "file://"


@dataclass(frozen=True)
class Location:
    """A place on this machine or elsewhere; made by `Location.of`.

    A `Path` cannot stand for both: it turns "s3://bucket" into "s3:/bucket".

    Attributes:
        address: Absolute path, or URL such as "https://host/set" or "s3://bucket/set"; no slash at its end.
    """

    address: str

    @classmethod
    def of(cls, place: str | Path | Location) -> Self:
        """Read what a user gave; paths become absolute, "~" the home folder.

        Raises:
            ConfigError: A URL that went through `Path`, which cannot be repaired safely.

        >>> str(Location.of("s3://bucket/set/") / "index.arrow")
        's3://bucket/set/index.arrow'
        """
        text = str(place)
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/[^/]", text):
            raise ConfigError(
                where=text,
                came="an address with one slash behind the colon",
                expected="two of them, as in s3://bucket/folder",
                todo="Write the second slash; in Python give the address as text, a Path drops it.",
            )
        if text.startswith(_FILE_URL):
            text = text.removeprefix(_FILE_URL)
        return cls(text.rstrip("/") if "://" in text else str(Path(text).expanduser().resolve()))

    @property
    def is_remote(self) -> bool:
        """Whether it has to be read through a server."""
        return "://" in self.address

    @property
    def path(self) -> Path:
        """The path of a place on this machine."""
        if self.is_remote:
            raise ValueError(f"{self.address} has no path on this machine")
        return Path(self.address)

    def __truediv__(self, name: str) -> Location:
        """Name a file in this folder; a name that is an absolute path or a URL stands for itself."""
        if "://" in name or name.startswith("/"):
            return Location(name)
        return Location(f"{self.address.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.address
