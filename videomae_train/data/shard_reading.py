"""Shards read one after the other, their videos handed out to be decoded; each is told of when all of it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from videomae_train.data.copying import FileFacts
from videomae_train.data.index_plan import IndexPlan
from videomae_train.data.indexed_shard import IndexedShard, IndexedVideo
from videomae_train.data.pack_summary import PackFault
from videomae_train.data.probing import FaultyVideo, ProbedVideo
from videomae_train.data.remote import RemoteFiles
from videomae_train.data.tar_probing import TarTask
from videomae_train.data.tar_samples import SampleCause, TarFault, TarVideo, read_samples
from videomae_train.data.tar_stream import CutShardError, TarStream
from videomae_train.data.versions import version_of


class ShardsReader:
    """Reads shards and collects what becomes of their videos.

    Args:
        plan: Which shards.
        files: Reads remote ones.
        on_found: Told of each video and fault.
        on_shard: Told of each shard when the last of its videos has been decoded.
    """

    def __init__(
        self,
        plan: IndexPlan,
        files: RemoteFiles,
        *,
        on_found: Callable[[IndexedVideo | PackFault], None],
        on_shard: Callable[[int, IndexedShard], None],
    ) -> None:
        self._plan, self._files = plan, files
        self._on_found, self._on_shard = on_found, on_shard
        self._open: dict[int, _OpenShard] = {}

    def tasks(self, numbers: Sequence[int]) -> Iterator[TarTask]:
        """Give all videos of some shards; the result of each has to come back through `take`.

        Raises:
            ShardError: A shard cannot be read, or a server cannot be asked.
        """
        for number in numbers:
            self._open[number] = shard = _OpenShard(self._plan, number, self._files, self._on_found)
            yield from shard.tasks()
            self._close_if_done(shard)

    def take(self, task: TarTask, result: ProbedVideo | FaultyVideo) -> None:
        """Take a video back that has been decoded."""
        shard = self._open[task.shard]
        shard.take(task, result)
        self._close_if_done(shard)

    def _close_if_done(self, shard: _OpenShard) -> None:
        if shard.is_done:
            del self._open[shard.number]
            self._on_shard(shard.number, shard.result())


class _OpenShard:
    """A shard that is being read, and what is known of it so far."""

    def __init__(
        self,
        plan: IndexPlan,
        number: int,
        files: RemoteFiles,
        on_found: Callable[[IndexedVideo | PackFault], None],
    ) -> None:
        self.number = number
        self._name, self._label_key = plan.shards.names[number], plan.options.label_key
        # Before the first byte: a change while it is read has to show afterwards.
        self._version = version_of(files, plan.place(number))
        self._stream = TarStream(plan.place(number), files, self._version.num_bytes)
        self._on_found = on_found
        self._found: list[IndexedVideo | PackFault | None] = []  # None while a child decodes it
        self._facts: FileFacts | None = None
        self._num_away = 0
        self._is_read = False

    @property
    def is_done(self) -> bool:
        """Whether it is read to its end and all its videos are back."""
        return self._is_read and self._num_away == 0

    def tasks(self) -> Iterator[TarTask]:
        """Give the videos; note the faults that need no decoding."""
        keys = set[str]()
        try:
            for sample in read_samples(self._stream.members(), self._label_key):
                if isinstance(sample, TarFault):
                    self._add_fault(f"{self._name}/{sample.name}", sample.cause, sample.detail)
                elif sample.key in keys:
                    self._add_fault(
                        f"{self._name}/{sample.key}", SampleCause.DUPLICATE, "the key a second time"
                    )
                else:
                    keys.add(sample.key)
                    yield self._task(sample)
        except CutShardError as error:
            self._add_fault(self._name, SampleCause.CUT_SHARD, str(error))
        else:
            self._facts = self._stream.facts
        self._is_read = True

    def _add_fault(self, name: str, cause: SampleCause, detail: str) -> None:
        fault = PackFault(name, cause.value, detail)
        self._found.append(fault)
        self._on_found(fault)

    def _task(self, video: TarVideo) -> TarTask:
        name = member_name(self._name, video.key, video.extension)
        self._found.append(None)
        self._num_away += 1
        return TarTask(self.number, len(self._found) - 1, name, video)

    def take(self, task: TarTask, result: ProbedVideo | FaultyVideo) -> None:
        """Put a video at its place."""
        found = (
            _indexed(task.video, result)
            if isinstance(result, ProbedVideo)
            else PackFault(task.name, result.cause, result.detail)
        )
        self._found[task.place] = found
        self._num_away -= 1
        self._on_found(found)

    def result(self) -> IndexedShard:
        """Say all that is known."""
        videos = tuple(item for item in self._found if isinstance(item, IndexedVideo))
        return IndexedShard(
            version=self._version,
            facts=self._facts,
            videos=() if self._facts is None else videos,
            faults=tuple(item for item in self._found if isinstance(item, PackFault)),
        )


def member_name(shard: str, key: str, extension: str) -> str:
    """Name a video for messages."""
    return f"{shard}/{key}.{extension}"


def _indexed(video: TarVideo, probed: ProbedVideo) -> IndexedVideo:
    return IndexedVideo(
        key=video.key,
        extension=video.extension,
        offset=video.offset,
        size=len(video.content),
        label=video.label,
        num_frames=probed.facts.num_frames,
        fps=probed.facts.fps,
        height=probed.facts.height,
        width=probed.facts.width,
        duration_sec=probed.facts.duration_sec,
        checksum=probed.checksum.hex(),
    )
