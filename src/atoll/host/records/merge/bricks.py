"""What two records of one machine tell of its NPU bricks."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.host.fact import Known
from atoll.host.model import NpuBrick
from atoll.host.records.merge.disagreement import Disagreements

__all__ = ["merge_bricks"]

_WHAT = "NPU bricks"


def merge_bricks(one: Sequence[NpuBrick], other: Sequence[NpuBrick], doubts: Disagreements) -> tuple[NpuBrick, ...]:
    """Return the bricks in path order; none where the records contradict each other about any of them.

    The bricks of one NPU share a group with its GPUs: one that is open leaves all of them open, and a brick that no
    device tree tells of is known by its ids as one of which nobody knows what it faces.
    """
    if _WHAT in doubts.earlier:
        return ()
    here, there = {brick.path: brick for brick in one}, {brick.path: brick for brick in other}
    if here.keys().isdisjoint(there.keys()):
        # A device tree from before PCI was probed has other nodes, and names neither GPUs nor functions.
        if not _tells_ends(other):
            return tuple(one or other)
        if not _tells_ends(one):
            return tuple(other)
    if here.keys() != there.keys():
        doubts.add(_WHAT, Known(_count(one), doubts.one), Known(_count(other), doubts.other))
        return ()
    found = []
    for path in sorted(here):
        brick = _filled(here[path], there[path])
        if brick != _filled(there[path], here[path]):
            doubts.add(_WHAT, Known(_words(here[path]), doubts.one), Known(_words(there[path]), doubts.other))
            return ()
        found.append(brick)
    return tuple(found)


def _tells_ends(bricks: Sequence[NpuBrick]) -> bool:
    return any(brick.gpu or brick.function for brick in bricks)


def _filled(one: NpuBrick, other: NpuBrick) -> NpuBrick:
    return one._replace(
        gpu=one.gpu or other.gpu,
        function=one.function or other.function,
        group_id=other.group_id if one.group_id is None else one.group_id,
    )


def _count(bricks: Sequence[NpuBrick]) -> str:
    return f"{len(bricks)}, at {', '.join(brick.path for brick in bricks)}"


def _words(brick: NpuBrick) -> str:
    return f"{brick.path} of {brick.npu} is {brick.function or 'no function'} and faces {brick.gpu or 'no GPU'}"
