"""Running verbs in this process, as a user would."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Ran, Run

from atoll.cli.main import main


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """What a test's verbs show with ``--verbose`` is not shown in the next test."""
    yield
    found = logging.getLogger("atoll")
    for handler in tuple(found.handlers):
        found.removeHandler(handler)
    found.setLevel(logging.NOTSET)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``atoll`` with these arguments."""

    def run(*arguments: object) -> Ran:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def ac922(run: Run, tmp_path: Path) -> Path:
    """A fresh AC922 with four GPUs, in a file."""
    path = tmp_path / "ac922.twin"
    assert run("twin", "new", "ac922-4gpu", path).code == 0
    return path
