"""Running verbs in this process, as a user would."""

from __future__ import annotations

import logging
import lzma
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import MACHINES, Ran, Run

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


@pytest.fixture
def paste(tmp_path: Path) -> Path:
    """Return a folder with a Mac's lspci output and its groups as an own list."""
    folder = MACHINES / "mac-cometlake-titanridge"
    text = lzma.decompress((folder / "lspci.txt.xz").read_bytes())
    lines = [line for line in text.splitlines(keepends=True) if b"IOMMU group:" not in line]
    (tmp_path / "lspci.txt").write_bytes(b"".join(b"> " + line for line in lines))
    (tmp_path / "groups.txt").write_bytes((folder / "iommu_groups.txt").read_bytes())
    return tmp_path
