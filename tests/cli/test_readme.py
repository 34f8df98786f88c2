"""The readme's tour, as it stands there: each command is run, and prints what is shown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Run

from atoll.report.names import Names

_README = (Path(__file__).parents[2] / "README.md").read_text()
_ELSEWHERE = ("capture", "host.tar.xz", "lspci", "topo.txt", "python")
"""Of the machine that one is on, of records that one has, of the lab."""


def _commands() -> Iterator[tuple[str, str]]:
    """Yield commands and what is shown below them, in order."""
    for block in re.findall(r"^```console\n(.*?)^```", _README, flags=re.DOTALL | re.MULTILINE):
        for shown in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = shown.partition("\n")
            if not any(word in command for word in _ELSEWHERE):
                yield command, output.strip("\n")


def test_the_tour_shows_what_is_printed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Names of devices are shown where a machine has a list of them.
    monkeypatch.setattr(Names, "load", classmethod(lambda cls: cls()))
    (spec,) = re.findall(r"^```toml\n(.*?)^```", _README, flags=re.DOTALL | re.MULTILINE)
    Path("tenants.toml").write_text(spec)
    commands = list(_commands())
    assert len(commands) > 15
    for command, shown in commands:
        program, *arguments = shlex.split(command)
        assert program == "atoll"
        ran = run(*arguments)
        assert ran.code in (0, 1), (command, ran.err)
        assert ran.err == "", command
        # A line with dots stands for any number of lines; a command may be shown without what it prints.
        lines = r"(?:.*\n)*".join(re.escape(part) for part in re.split(r"^…(?:\n|$)", f"{shown}\n", flags=re.MULTILINE))
        assert not shown or re.fullmatch(lines, ran.out), f"{command}\n{ran.out}"
