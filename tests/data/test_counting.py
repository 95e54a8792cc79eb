from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_clips import encode, moving_frames

from videomae_train.data import counting
from videomae_train.data.counting import average_rate, count_frames
from videomae_train.data.decoding import probe_video
from videomae_train.errors import DecodeCause, DecodeError

ZOO = Path(__file__).parents[2] / "../shared/data/zoo"


def test_count__needs_no_decoding_where_stamps_tell(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "probe_video", None)
    assert count_frames(clip, where="clip") == 30


def test_count__decodes_where_stamps_are_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An AVI stores no presentation times; the count is the decoder's."""
    video = encode(moving_frames(13), container="avi", codec="mpeg4", options={"bf": "2", "g": "6"})
    facts = replace(probe_video(video, where="clip"), num_frames=99)
    monkeypatch.setattr(counting, "probe_video", lambda *_, **__: facts)
    assert count_frames(video, where="clip") == 99


def test_count__refuses_what_is_no_video(clip: bytes) -> None:
    for content, cause in ((b"", DecodeCause.EMPTY), (b"rubbish", DecodeCause.UNDECODABLE)):
        with pytest.raises(DecodeError) as caught:
            count_frames(content, where="clip")
        assert caught.value.cause is cause


def test_rate__is_that_of_the_index_and_an_unknown_one_is_a_fault() -> None:
    assert average_rate(encode(moving_frames(4), fps=30), where="clip") == 30.0
    one_frame = encode(moving_frames(1), container="mpegts")
    assert probe_video(one_frame, where="clip").fps == 0.0
    with pytest.raises(DecodeError, match=r"^clip: undecodable \(an unknown rate\)"):
        average_rate(one_frame, where="clip")


@pytest.mark.skipif(not ZOO.is_dir(), reason="the real odd files are not here")
def test_zoo__counts_are_the_decoders() -> None:
    for file in sorted(path for path in ZOO.rglob("*") if path.is_file()):
        try:
            expected = probe_video(file.read_bytes(), where=file.name).num_frames
        except DecodeError:
            continue
        assert count_frames(file.read_bytes(), where=file.name) == expected, file.name
