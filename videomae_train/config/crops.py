"""What whole frames take in memory, where a run cuts its clips on the device."""

from __future__ import annotations

from videomae_train.data.datamodule import FinetuneDataModule, PretrainDataModule
from videomae_train.data.device_crops import most_memory
from videomae_train.data.options import FinetuneDataOptions

_MUCH_BYTES = 4 * 2**30


def crop_words(data: PretrainDataModule | FinetuneDataModule, much: int = _MUCH_BYTES) -> list[str]:
    """Say how much memory the largest micro-batch of whole frames takes, where that is more than so many bytes.

    No search finds out: the sizes of videos are those of the set, and the largest may come after days.
    """
    options = data.options
    if options.crop_on != "device":
        return []
    augmented = isinstance(options, FinetuneDataOptions) and options.randaugment is not None
    sizes = data.selection.dataset.frame_sizes[data.selection.sample_ids]
    memory = most_memory(
        sizes,
        videos=data.stream.micro_batch,
        num_frames=options.num_frames,
        views=options.views,
        shared=options.view_jitter_frames == 0 and not augmented,
    )
    if memory.resizing <= much:
        return []
    height, width = sizes.max(axis=0).tolist()
    return [
        f"data.crop_on=device: a micro-batch of frames up to {height} x {width} is {memory.frames / 2**30:.1f} GiB, and"
        f" {memory.resizing / 2**30:.1f} GiB on the device while it is resized; pack with --short-side, lower"
        " trainer.micro_batch, or crop on the processor"
    ]
