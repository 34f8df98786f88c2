"""What the scenario of deaths makes of what the guest found and the GPUs saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.boot import Result
from lab.gpu.record import GpuLink, Record
from lab.scenarios.kill import checks_of

POINTS = ["3: before a commit", "7: at the end"]
COUNTS = {"apply": {"points": 9, "chosen": POINTS, "survived": POINTS}}
ANSWER = {"planned": ["apply"], "counts": COUNTS, "failures": []}
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


def detail(answer: dict[str, Any], says: str) -> str:
    """What is told of the one check that says so and does not hold."""
    result = Result(False, answer, {}, "", 1.0, Path("folder"), "not done after 9 s")
    checks = checks_of("6.1", result, Record.of(LINK, [CUT]))
    (found,) = [check.detail for check in checks if check.says.startswith(says) and not check.ok]
    return found


def broken(answer: dict[str, Any], events: list[dict[str, Any]], *, ok: bool = True) -> list[str]:
    """What does not hold."""
    result = Result(ok, answer, {}, "", 1.0, Path("folder"))
    return [check.says for check in checks_of("6.1", result, Record.of(LINK, [events])) if not check.ok]


def test_all_is_well() -> None:
    assert broken(ANSWER, CUT) == []


def test_a_link_that_was_open_between_two_who_ran() -> None:
    events = [*CUT[:5], {"t": 5, "gpu": 0, "event": "links", "cut": 0}, *CUT[5:]]
    assert broken(ANSWER, events) == ["no link was open between two tenants that both ran, at any time"]


@pytest.mark.parametrize(("chosen", "survived"), [(POINTS, POINTS[1:]), ([], [])])
def test_a_death_that_was_not_recovered_from_or_never_tried(chosen: list[str], survived: list[str]) -> None:
    counts = {"apply": {"points": 9, "chosen": chosen, "survived": survived}}
    failures = [{"verb": "apply", "point": "3: before a commit", "what": "it stays"}]
    (told,) = broken({"planned": ["apply"], "counts": counts, "failures": failures}, CUT)
    assert told.startswith(f"apply: killed at {len(chosen)} of 9")


def test_a_run_that_was_cut_off_names_what_was_judged_and_what_was_not() -> None:
    counts = {"apply": {"points": 9, "chosen": POINTS, "survived": POINTS[:1]}}
    answer = {"planned": ["apply", "release"], "counts": counts, "failures": []}
    assert detail(answer, "the scenario ends well") == "not done after 9 s"
    assert detail(answer, "apply") == f"judged: {POINTS[0]}; not judged: {POINTS[1]}"
    assert detail(answer, "release") == "not judged: it was not begun"


def test_what_would_have_seen_nothing_is_no_witness() -> None:
    assert "tenants ran" in broken(ANSWER, CUT[:3])
    silent = [event for event in CUT if event["event"] != "attack"]
    assert any(says.startswith("attacks read") for says in broken(ANSWER, silent))


def test_a_guest_that_broke_off() -> None:
    assert "the scenario ends well" in broken({"error": "traceback", **ANSWER}, CUT, ok=False)
    assert "the scenario ends well" in broken({}, CUT)
