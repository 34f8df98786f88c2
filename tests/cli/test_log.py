"""What is logged shows on standard error, and whoever closed that does not end what is at work."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from atoll.cli.log import _ToStandardError

RECORD = logging.LogRecord("atoll.guard", logging.WARNING, "", 1, "lost=%s", ("red",), None)


class Gone(io.StringIO):
    """A terminal, a pipe or a journal that is there no more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_line_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    _ToStandardError().emit(RECORD)
    assert capsys.readouterr().err == "atoll.guard: lost=red\n"


def test_a_defect_is_shown_with_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise KeyError("links")
    except KeyError:
        found = sys.exc_info()
    _ToStandardError().emit(logging.LogRecord("atoll.guard", logging.ERROR, "", 1, "ask=take", (), found))
    first, *traceback = capsys.readouterr().err.splitlines()
    assert first == "atoll.guard: ask=take"
    assert traceback[0].startswith("Traceback")
    assert traceback[-1] == "KeyError: 'links'"


def test_a_line_that_nobody_can_be_shown_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Gone())
    _ToStandardError().emit(RECORD)
