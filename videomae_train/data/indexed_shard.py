"""What indexing notes of a shard that it has read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from videomae_train.data.copying import FileFacts
from videomae_train.data.pack_summary import PackFault
from videomae_train.data.versions import FileVersion


@dataclass(frozen=True)
class IndexedVideo:
    """A video that decodes to its end; `IndexRow` says more of the fields that both have.

    Attributes:
        key: Of its sample, as the shard has it.
        extension: Lower case, without the dot.
        offset: First byte in the shard.
        size: Bytes.
        label: Class number or name, "" if it has none.
        num_frames: Frames that decoding put out.
        fps: Frames per second, 0.0 if the file does not state them.
        height: Pixels.
        width: Pixels.
        duration_sec: Playing time.
        checksum: `content_checksum`, hexadecimal.
    """

    key: str
    extension: str
    offset: int
    size: int
    label: str
    num_frames: int
    fps: float
    height: int
    width: int
    duration_sec: float
    checksum: str


@dataclass(frozen=True)
class IndexedShard:
    """A shard that was read to its end, or to where it is cut.

    Attributes:
        version: Of the file, from before it was read.
        facts: Length and checksum; None if the shard is cut, which leaves it out.
        videos: In the order of the shard; none if it is cut.
        faults: What cannot be used, in the order of the shard.
    """

    version: FileVersion
    facts: FileFacts | None
    videos: tuple[IndexedVideo, ...]
    faults: tuple[PackFault, ...]

    def as_json(self) -> dict[str, Any]:
        """Give what `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> IndexedShard:
        """Read what `as_json` gave."""
        return cls(
            version=FileVersion(**content["version"]),
            facts=None if content["facts"] is None else FileFacts(**content["facts"]),
            videos=tuple(IndexedVideo(**video) for video in content["videos"]),
            faults=tuple(PackFault(**fault) for fault in content["faults"]),
        )
