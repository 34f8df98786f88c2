"""What a guest noted becomes checks, and a bad end one that does not hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lab.boot import Result
from lab.noted import ended, noted
from lab.report import Check

NOTE = {"says": "two GPUs", "ok": True, "detail": "found 2"}
CHECK = Check("6.12", "two GPUs", ok=True, detail="found 2")


def result(answer: dict[str, object], *, ok: bool = True) -> Result:
    return Result(ok, answer, {}, "", 1.0, Path("folder"))


def bad_end(detail: str) -> Check:
    return Check("6.12", "the scenario ends well", ok=False, detail=detail)


def test_a_good_end_is_no_check() -> None:
    assert ended("6.12", result({})) == ()
    assert noted("6.12", result({"checks": [NOTE]})) == (CHECK,)


def test_a_bad_end_tells_the_error_or_where_to_look() -> None:
    assert ended("6.12", result({"error": "traceback"}, ok=False)) == (bad_end("traceback"),)
    assert ended("6.12", result({}, ok=False)) == (bad_end("folder"),)
    cut = replace(result({}, ok=False), cut_off="not done after 9 s")
    assert ended("6.12", cut) == (bad_end("not done after 9 s"),)
    assert ended("6.12", result({}), told=False) == (bad_end("folder"),)


def test_what_was_noted_before_a_bad_end_is_told_after_it() -> None:
    assert noted("6.12", result({"checks": [NOTE], "error": "died"}, ok=False)) == (bad_end("died"), CHECK)


def test_a_guest_that_noted_nothing_did_not_end_well() -> None:
    assert noted("6.12", result({})) == (bad_end("folder"),)
    assert noted("6.12", result({"checks": "none"})) == (bad_end("folder"),)
