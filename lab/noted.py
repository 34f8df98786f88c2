"""What the guest of a scenario noted, as checks; a scenario that does not end well is a check that does not hold."""

from __future__ import annotations

from lab.boot import Result
from lab.report import Check

__all__ = ["ended", "noted"]


def ended(kernel: str, result: Result, *, told: bool = True) -> tuple[Check, ...]:
    """Return the check that fails where a scenario did not end well, or has not ``told`` what it was to; else nothing.

    Its detail is the guest's error, why it was cut off, or the folder with the console and the messages.
    """
    if result.ok and told:
        return ()
    detail = str(result.answer.get("error") or result.cut_off or result.folder)
    return (Check(kernel, "the scenario ends well", ok=False, detail=detail),)


def noted(kernel: str, result: Result) -> tuple[Check, ...]:
    """Return what the guest noted under ``checks``; where it did not end well, what it had noted by then."""
    told = result.answer.get("checks")
    notes = told if isinstance(told, list) else []
    checks = (Check(kernel, str(one["says"]), ok=bool(one["ok"]), detail=str(one["detail"])) for one in notes)
    return (*ended(kernel, result, told=isinstance(told, list)), *checks)
