"""What is logged shows on standard error, and whoever closed that does not end what is at work."""

from __future__ import annotations

import io
import logging

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


def test_a_line_that_nobody_can_be_shown_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Gone())
    _ToStandardError().emit(RECORD)
