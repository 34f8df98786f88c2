"""What a run of emulated GPUs proves afterwards, from their logs alone: when was a path open, and who ran then.

A path is open while some link between two GPUs is cut at neither end. That is known without gaps from the states of
the links, each logged when it changed; the attacks are the witness that data moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Attempt", "GpuLink", "Interval", "Record"]

Event = dict[str, object]


class GpuLink(NamedTuple):
    """A link: GPU and link number at each end."""

    a: int
    a_number: int
    b: int
    b_number: int


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """From ``start`` to before ``end``, nanoseconds of the host's monotonic clock."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """From when on one GPU's attack on another over a link read the secret, or did not."""

    at: int
    gpu: int
    link: int
    peer: int
    reads: bool


@dataclass(frozen=True, slots=True)
class Record:
    """The logs of one run."""

    links: tuple[GpuLink, ...]
    events: tuple[Event, ...]
    """Of all GPUs, in the order of time."""

    @classmethod
    def of(cls, links: Iterable[GpuLink], logs: Iterable[Sequence[Event]]) -> Record:
        """Return the record of logs."""
        events = sorted((event for log in logs for event in log), key=lambda event: _number(event, "t"))
        return cls(tuple(links), tuple(events))

    def named(self, name: str, gpu: int | None = None) -> tuple[Event, ...]:
        """Return the events of a name, of one GPU or of all."""
        return tuple(event for event in self.events if event["event"] == name and (gpu is None or event["gpu"] == gpu))

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Return when attacks began to succeed and to fail."""
        return tuple(
            Attempt(
                at=_number(event, "t"),
                gpu=_number(event, "gpu"),
                link=_number(event, "link"),
                peer=_number(event, "peer"),
                reads=event["reads"] is True,
            )
            for event in self.named("attack")
        )

    def opened(self, a: int, b: int, start: int, end: int) -> tuple[Interval, ...]:
        """Return when a path between two GPUs was open during a time, parallel links taken together."""
        found = [
            interval
            for link in self.links
            if {link.a, link.b} == {a, b}
            for interval in self._open(link, start, end, running=False)
        ]
        return _merged(found)

    def breaches(self, start: int, end: int) -> dict[GpuLink, tuple[Interval, ...]]:
        """Return when a link was open between two GPUs on both of which somebody ran, and not the same.

        Who runs is what owners told by their tokens; two GPUs with one token have one owner.
        """
        found = {link: self._open(link, start, end, running=True) for link in self.links}
        return {link: intervals for link, intervals in found.items() if intervals}

    def _open(self, link: GpuLink, start: int, end: int, *, running: bool) -> tuple[Interval, ...]:
        cut, token = {link.a: 0, link.b: 0}, {link.a: 0, link.b: 0}
        intervals: list[Interval] = []
        since: int | None = None
        bounds: tuple[Event, Event] = ({"event": "start", "t": start, "gpu": -1}, {"event": "end", "t": end, "gpu": -1})
        for event in (bounds[0], *self.events, bounds[1]):
            at, gpu = min(max(_number(event, "t"), start), end), _number(event, "gpu")
            if gpu in cut and event["event"] == "links":
                cut[gpu] = _number(event, "cut")
            elif gpu in cut and event["event"] == "owner":
                token[gpu] = _number(event, "token")
            apart = token[link.a] != token[link.b] and token[link.a] != 0 != token[link.b]
            passes = not cut[link.a] >> link.a_number & 1 and not cut[link.b] >> link.b_number & 1
            now = passes and (apart or not running)
            if since is not None and (not now or event is bounds[1]):
                if at > since:
                    intervals.append(Interval(since, at))
                since = None
            if now and since is None and event is not bounds[1]:
                since = at
        return _merged(intervals)


def _number(event: Event, name: str) -> int:
    value = event[name]
    assert isinstance(value, int), f"{name} of {event}"
    return value


def _merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    found: list[Interval] = []
    for interval in sorted(intervals):
        if found and interval.start <= found[-1].end:
            found[-1] = Interval(found[-1].start, max(found[-1].end, interval.end))
        else:
            found.append(interval)
    return tuple(found)
