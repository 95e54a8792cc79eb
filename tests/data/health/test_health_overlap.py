from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from inspected_sets import findings_of, good_videos, set_of, severities, video

from videomae_train.data.health import Severity
from videomae_train.data.health.overlap import groups_of_ucf101
from videomae_train.data.sources import open_source

ERROR, WARNING, NOTE = Severity


def test_a_copy_in_the_same_part__is_a_duplicate_but_no_overlap() -> None:
    copy = video("copy", 1, "train", content="v3")
    found = findings_of(set_of(*good_videos(), copy))
    assert {name: finding.severity for name, finding in found.items()} == {"duplicates": WARNING}
    assert found["duplicates"].videos == ("v3 = copy",)


def test_a_copy_in_train_and_test__is_an_error_when_it_matters() -> None:
    copies = [video(f"copy{n}", 1, "test", content=f"v{n}") for n in (3, 7)]
    found = findings_of(set_of(*good_videos(), *copies))
    assert found["overlap"].severity == ERROR
    assert found["overlap"].videos == ("copy3", "copy7")
    assert "2 of 42 videos" in found["overlap"].text
    assert severities(set_of(*good_videos(600), *copies))["overlap"] == WARNING


def test_copies_outside_the_split__do_not_count() -> None:
    copy = video("copy", 1, content="v3")
    assert "overlap" not in findings_of(set_of(*good_videos(), copy))


def test_nearly_the_same_pictures__are_a_warning() -> None:
    original = video("v3", 1, "train")
    pixels = np.frombuffer(original.thumbnails, np.uint8) // 2 + 60
    original = replace(original, thumbnails=pixels.tobytes())
    copy = replace(video("copy", 1, "test"), thumbnails=(pixels + 1).tobytes())
    videos = [original if one.name == "v3" else one for one in good_videos()]
    assert severities(set_of(*videos, copy)) == {"lookalikes": WARNING, "lookalike-overlap": WARNING}


def test_copies_with_two_labels__are_named() -> None:
    copy = video("copy", 0, "train", content="v3")
    assert set(severities(set_of(*good_videos(), copy))) == {"duplicates", "contradicting-labels"}


def ucf101(parts: dict[int, str]) -> list:
    names = (
        (f"Run/v_Run_g{group:02}_c{n:02}.avi", part) for group, part in parts.items() for n in range(1, 5)
    )
    return [video(name, 0, part) for name, part in names]


def test_groups_of_ucf101__on_both_sides_are_an_error() -> None:
    apart = ucf101({1: "test", 2: "train", 3: "train"})
    assert severities(set_of(*apart, classes=("Run",))) == {}
    random_split = [*ucf101({2: "train", 3: "train"}), *ucf101({1: "test"})[:2], *ucf101({1: "train"})[2:]]
    found = findings_of(set_of(*random_split, classes=("Run",)))
    assert {name: one.severity for name, one in found.items()} == {"group-overlap": ERROR}
    assert len(found["group-overlap"].videos) == 2


def test_groups_of_ucf101__are_found_in_keys_of_a_packed_set_and_nowhere_else() -> None:
    names = [
        "Run__v_Run_g01_c01",
        "Run__v_Run_g01_c02",
        "Run/v_Run_g02_c01.avi",
        "Jog__v_Jog_g01_c01",
        "g01_c01",
    ]
    groups = groups_of_ucf101(video(name) for name in names)
    assert [[one.name for one in group] for group in groups] == [names[:2]]


SPLITS = Path(__file__).parents[3] / "../shared/data/splits/ucf101"


@pytest.mark.skipif(not SPLITS.is_dir(), reason="the official lists are not here")
def test_groups_of_ucf101__the_official_splits_keep_them_apart(tmp_path: Path) -> None:
    (tmp_path / "Archery").mkdir()
    (tmp_path / "Archery/v_Archery_g01_c01.avi").touch()
    source = open_source(tmp_path, splits=SPLITS)
    videos = [replace(video(one.name, one.label), splits=one.splits, thumbnails=b"") for one in source.videos]
    assert len(videos) > 13000
    assert "group-overlap" not in severities(set_of(*videos, classes=source.classes))
