"""What one rank knows of the others, and when that is enough to end the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from videomae_train.errors import TrainingError
from videomae_train.training.heartbeats import Heartbeat


@dataclass(frozen=True)
class Sighting:
    """What is known of a rank, in seconds of the watching rank's own clock.

    Attributes:
        latest: Its newest sign of life; None before the first.
        beat_at: When that came.
        progressed_at: When the rank last got on.
        has_left: It took its file away: it ended as it should.
    """

    latest: Heartbeat | None
    beat_at: float
    progressed_at: float
    has_left: bool = False

    def updated(self, heartbeat: Heartbeat | None, now: float) -> Sighting:
        """Take in what stands in the rank's file now."""
        if heartbeat is None:
            return replace(self, has_left=self.latest is not None)
        if self.latest is None or heartbeat.progress != self.latest.progress:
            return Sighting(heartbeat, now, now)
        if heartbeat != self.latest:
            return Sighting(heartbeat, now, self.progressed_at)
        return replace(self, has_left=False)

    def excused(self, unwatched_sec: float, now: float) -> Sighting:
        """Leave out of its silence what the watching rank itself stood still; nothing was seen later than now."""
        return replace(
            self,
            beat_at=min(now, self.beat_at + unwatched_sec),
            progressed_at=min(now, self.progressed_at + unwatched_sec),
        )


@dataclass(frozen=True)
class Verdict:
    """Why the run ends.

    Attributes:
        where: The ranks that are to blame.
        came: What they did.
        ranks: The ranks among them that may still be there.
    """

    where: str
    came: str
    ranks: Sequence[Heartbeat] = ()

    def error(self, timeout_sec: float) -> TrainingError:
        """Make it the run's error."""
        return TrainingError(
            where=self.where,
            came=self.came,
            expected=f"progress at least every {timeout_sec:g} s (trainer.rank_timeout_sec)",
            todo="See that rank's log and node; the same command with resume=auto goes on from the newest checkpoint.",
        )


def judge(
    sightings: Mapping[int, Sighting], now: float, *, silence_sec: float, grace_sec: float
) -> Verdict | None:
    """Decide whether a rank has died, failed or fallen silent.

    Args:
        sightings: What is known of the ranks that are watched.
        now: Seconds on the clock of the sightings.
        silence_sec: How long a rank may say nothing.
        grace_sec: How long after a rank's failure the others may still end by themselves.
    """
    for rank, seen in sightings.items():
        verdict = (
            None if seen.has_left else _judge_one(rank, seen, now - seen.beat_at, silence_sec, grace_sec)
        )
        if verdict is not None:
            return verdict
    return None


def _judge_one(
    rank: int, seen: Sighting, silent_for: float, silence_sec: float, grace_sec: float
) -> Verdict | None:
    last = seen.latest
    if last is None:
        silent = Verdict(f"rank {rank}", f"no sign of life for {silent_for:.0f} s, from the beginning")
        return silent if silent_for > silence_sec else None
    if last.failure is not None:
        failed = Verdict(last.name, f"it failed {last.place}: {last.failure}")
        return failed if silent_for >= grace_sec else None
    if last.is_here and not last.is_running:
        return Verdict(last.name, f"it died; last seen {last.place}")
    silent = Verdict(last.name, f"it has said nothing for {silent_for:.0f} s; last seen {last.place}", [last])
    return silent if silent_for > silence_sec else None


def judge_progress(sightings: Mapping[int, Sighting], now: float, *, timeout_sec: float) -> Verdict | None:
    """Decide whether all ranks stand still, and which of them the others wait for: those that are behind."""
    present = [seen for seen in sightings.values() if seen.latest is not None and not seen.has_left]
    beats = [seen.latest for seen in present if seen.latest is not None]
    if len(beats) < len(sightings) or any(now - seen.progressed_at <= timeout_sec for seen in present):
        return None
    behind = [beat for beat in beats if beat.progress == min(beat.progress for beat in beats)]
    if len(behind) == len(beats):
        came = f"none of {len(beats)} has got on for {timeout_sec:.0f} s; all {behind[0].place}"
        return Verdict("every rank", came, behind)
    named = ", ".join(beat.name for beat in behind)
    waiting = f"{len(beats) - len(behind)} rank(s) have waited for it for {timeout_sec:.0f} s; it is {behind[0].place}"
    return Verdict(named, waiting, behind)
