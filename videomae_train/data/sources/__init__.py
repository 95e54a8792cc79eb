"""Where videos and labels come from: one file for each kind of layout, one shape of what they return.

Every source ends as the same `SourceSet`; packing knows nothing else. A new layout is one more function that
returns one, chosen in `opening`.
"""

from videomae_train.data.sources.opening import open_source
from videomae_train.data.sources.videos import VIDEO_EXTENSIONS, SourceSet, SourceVideo, find_videos

__all__ = ["VIDEO_EXTENSIONS", "SourceSet", "SourceVideo", "find_videos", "open_source"]
