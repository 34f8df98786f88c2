"""Running verbs in this process, as a user would."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import Ran, Run

from atoll.cli.main import main


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
