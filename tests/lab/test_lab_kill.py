"""What the scenario of deaths makes of what the guest found and the GPUs saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.boot import Result
from lab.gpu.record import GpuLink, Record
from lab.scenarios.kill import checks_of

COUNTS = {"apply": {"points": 9, "chosen": 2, "survived": 2}}
LINK = (GpuLink(0, 0, 1, 0),)
CUT = [
    {"t": 1, "gpu": 0, "event": "attack", "link": 0, "peer": 1, "reads": True},
    {"t": 2, "gpu": 0, "event": "links", "cut": 1},
    {"t": 3, "gpu": 0, "event": "attack", "link": 0, "peer": 1, "reads": False},
    {"t": 4, "gpu": 0, "event": "owner", "token": 17},
    {"t": 5, "gpu": 1, "event": "owner", "token": 18},
    {"t": 6, "gpu": 0, "event": "owner", "token": 0},
    {"t": 7, "gpu": 1, "event": "owner", "token": 0},
]


def broken(answer: dict[str, Any], events: list[dict[str, Any]], *, ok: bool = True) -> list[str]:
    """What does not hold."""
    result = Result(ok, answer, {}, "", 1.0, Path("folder"))
    return [check.says for check in checks_of("6.1", result, Record.of(LINK, [events])) if not check.ok]


def test_all_is_well() -> None:
    assert broken({"counts": COUNTS, "failures": []}, CUT) == []


def test_a_link_that_was_open_between_two_who_ran() -> None:
    events = [*CUT[:5], {"t": 5, "gpu": 0, "event": "links", "cut": 0}, *CUT[5:]]
    assert broken({"counts": COUNTS, "failures": []}, events) == [
        "no link was open between two tenants that both ran, at any time"
    ]


@pytest.mark.parametrize(("chosen", "survived"), [(2, 1), (0, 0)])
def test_a_death_that_was_not_recovered_from_or_never_tried(chosen: int, survived: int) -> None:
    counts = {"apply": {"points": 9, "chosen": chosen, "survived": survived}}
    failures = [{"verb": "apply", "point": "3: a commit", "what": "it stays"}]
    (told,) = broken({"counts": counts, "failures": failures}, CUT)
    assert told.startswith("apply: killed at")


def test_what_would_have_seen_nothing_is_no_witness() -> None:
    assert "tenants ran" in broken({"counts": COUNTS, "failures": []}, CUT[:3])
    silent = [event for event in CUT if event["event"] != "attack"]
    assert any(says.startswith("attacks read") for says in broken({"counts": COUNTS, "failures": []}, silent))


def test_a_guest_that_broke_off() -> None:
    assert "the scenario ends well" in broken({"error": "traceback", "counts": COUNTS, "failures": []}, CUT, ok=False)
    assert "the scenario ends well" in broken({}, CUT)
