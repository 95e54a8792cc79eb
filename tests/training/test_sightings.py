from dataclasses import replace

import pytest

from videomae_train.training.heartbeats import Heartbeat
from videomae_train.training.sightings import Sighting, Verdict, judge, judge_progress

BEAT = Heartbeat(1, "n2", "elsewhere", 4711, 1, 80, 40, "waiting for data", None)


def seen(beat: Heartbeat | None, beat_at: float, progressed_at: float = 0.0) -> Sighting:
    return Sighting(beat, beat_at, progressed_at)


def verdict_at(now: float, sighting: Sighting) -> Verdict | None:
    return judge({1: sighting}, now, silence_sec=60, grace_sec=15)


def test_updated__tells_life_from_progress() -> None:
    first = seen(None, 0).updated(BEAT, 10)
    assert (first.beat_at, first.progressed_at) == (10, 10)
    assert first.updated(BEAT, 20) == first, "the same file is no sign of life"
    alive = first.updated(replace(BEAT, beat=2), 20)
    assert (alive.beat_at, alive.progressed_at) == (20, 10)
    moved = alive.updated(replace(BEAT, beat=3, progress=81), 30)
    assert (moved.beat_at, moved.progressed_at) == (30, 30)


def test_excused__the_watchers_own_standstill_is_nobodys_silence() -> None:
    slept = seen(BEAT, 90, 30).excused(1000, 1100)
    assert (slept.beat_at, slept.progressed_at) == (1090, 1030)
    assert verdict_at(1150, slept) is None
    assert verdict_at(1151, slept) is not None, "what it was silent before and after counts"
    fresh = seen(None, 0).updated(BEAT, 1099).excused(1000, 1100)
    assert (fresh.beat_at, fresh.progressed_at) == (1100, 1100)


def test_judge__silence_is_named_with_rank_node_process_and_place() -> None:
    assert verdict_at(60, seen(BEAT, 0)) is None
    verdict = verdict_at(61, seen(BEAT, 0))
    assert verdict is not None
    message = str(verdict.error(60))
    assert "rank 1 (n2, process 4711): it has said nothing for 61 s" in message
    assert "last seen at step 40, waiting for data" in message
    assert "trainer.rank_timeout_sec" in message


def test_judge__a_rank_that_never_appeared() -> None:
    assert verdict_at(60, seen(None, 0)) is None
    verdict = verdict_at(61, seen(None, 0))
    assert verdict is not None
    assert verdict.where == "rank 1"


def test_judge__a_failure_waits_for_the_others_to_end_by_themselves() -> None:
    failed = seen(replace(BEAT, failure="OutOfMemoryError: 80 GiB"), 100)
    assert verdict_at(114, failed) is None
    verdict = verdict_at(115, failed)
    assert verdict is not None
    assert "it failed at step 40, waiting for data: OutOfMemoryError" in verdict.came


def test_judge__a_rank_that_left_is_nobodys_fault() -> None:
    left = seen(BEAT, 0).updated(None, 10)
    assert verdict_at(1000, left) is None
    assert verdict_at(1000, left.updated(BEAT, 20)) is not None, "a file that comes back counts again"


def test_judge_progress__blames_who_is_behind() -> None:
    ahead, behind = replace(BEAT, rank=0, progress=81, doing="computing"), BEAT
    sightings = {0: seen(ahead, 90, 39), 1: seen(behind, 90, 30)}
    assert judge_progress(sightings, 99, timeout_sec=60) is None
    verdict = judge_progress(sightings, 100, timeout_sec=60)
    assert verdict is not None
    assert verdict.where == "rank 1 (n2, process 4711)"
    assert "it is at step 40, waiting for data" in verdict.came
    assert verdict.ranks == [behind]


def test_judge_progress__blames_all_where_all_are_alike() -> None:
    sightings = {0: seen(replace(BEAT, rank=0), 90, 0), 1: seen(BEAT, 90, 0)}
    verdict = judge_progress(sightings, 100, timeout_sec=60)
    assert verdict is not None
    assert verdict.where == "every rank"


@pytest.mark.parametrize("missing", [seen(None, 0), Sighting(BEAT, 0, 0, has_left=True)])
def test_judge_progress__waits_until_every_rank_is_there(missing: Sighting) -> None:
    assert judge_progress({0: seen(BEAT, 0), 1: missing}, 1000, timeout_sec=60) is None
