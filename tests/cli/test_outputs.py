"""Where a verb's words and files go: full disks, encodings that lack signs, and what is left alone."""

from __future__ import annotations

import errno
import json
import os
import pty
import socket
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest
from running import Ran, Run
from test_errors import GPU, told

from atoll.cli import session
from atoll.host import open as opening
from atoll.report.layout import display_width


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.toml"
    path.write_text(f'[cluster.red]\ndevices = ["{GPU}"]\nhandover = "held"\n')
    return path


def shell(script: str, *arguments: object, **environment: str) -> Ran:
    """Run a line of shell in which ``atoll`` is the program."""
    line = script.replace("atoll", f"{sys.executable} -m atoll")
    ran = subprocess.run(
        ["sh", "-c", line, "sh", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("what", ["--version", "--help", "help", "show --help", "twin list --help"])
def test_words_that_cannot_be_printed_are_told(what: str) -> None:
    assert told(shell(f"exec atoll {what} > /dev/full")) == "atoll: standard output: No space left on device"


def test_a_plan_that_finds_no_room_costs_no_earlier_one(run: Run, ac922: Path, spec: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    full = "ulimit -f 1; exec atoll plan $1 -o $2 --host $3"
    assert told(shell(full, spec, plan, ac922)) == f"atoll: {plan}: File too large"
    assert not plan.exists()
    assert run("plan", spec, "-o", plan, "--host", ac922).err == ""
    before = plan.read_bytes()
    assert str(plan) in told(shell(full, spec, plan, ac922))
    assert plan.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in (ac922, spec, plan))


def test_an_archive_that_finds_no_room_is_named(ac922: Path, tmp_path: Path) -> None:
    file = tmp_path / "host.tar.xz"
    ran = shell("ulimit -f 1; exec atoll capture $1 --host $2", file, ac922)
    assert told(ran) == f"atoll: {file}: File too large"
    assert list(tmp_path.iterdir()) == [ac922]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_tree_where_the_terminal_has_no_lines(encoding: str) -> None:
    ran = shell("exec atoll show --host twin:ac922-4gpu", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert ran.code == 0
    assert "`- 0004:00:00.0" in ran.out
    assert "?" not in ran.out
    assert "├" in shell("exec atoll show --host twin:ac922-4gpu", PYTHONIOENCODING="utf-8").out


def test_a_hint_where_the_terminal_has_no_ellipsis(tmp_path: Path) -> None:
    empty = tmp_path / "empty.toml"
    empty.touch()
    ran = shell("exec atoll prove $1 --host twin:ac922-4gpu", empty, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert "no clusters" in told(ran)
    assert "\\u" not in ran.err


@pytest.mark.parametrize("verb", ["apply", "release", "hold", "recover"])
def test_a_dry_run_leaves_a_twins_file_alone(run: Run, ac922: Path, spec: Path, verb: str) -> None:
    before = ac922.stat()
    given = [] if verb == "recover" else [spec]
    assert run(verb, *given, "--dry-run", "--host", ac922).err == ""
    after = ac922.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("verb", ["apply", "hold"])
def test_nothing_is_told_as_done_that_could_not_be_kept(
    run: Run, ac922: Path, spec: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def barred(twin: object, path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(session, "save_twin", barred)
    assert "Permission denied" in told(run(verb, spec, "--host", ac922))


def test_a_record_that_may_not_be_read(run: Run, ac922: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def barred(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(session, "is_twin_file", lambda path: False)
    monkeypatch.setattr(opening, "_is_tree", barred)
    ran = run("show", "--host", ac922)
    assert "Permission denied" in told(ran)
    assert "may read it" in ran.err


def test_a_holder_that_may_not_be_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Barred:
        def __init__(self, *_: int) -> None:
            pass

        def settimeout(self, seconds: float) -> None:
            pass

        def connect(self, path: str) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        def close(self) -> None:
            pass

    monkeypatch.setattr(socket, "socket", Barred)
    ran = run("hold", "--state")
    assert "Permission denied" in told(ran)
    assert "run as root" in ran.err


def test_json_that_is_no_plan(run: Run, ac922: Path, spec: Path) -> None:
    assert "JSON, where a cluster file is wanted" in told(run("prove", ac922, "--host", ac922))
    assert f"{ac922}: not a plan" in told(run("apply", ac922, "--host", ac922))
    assert f"{ac922}: not a plan" in told(run("prove", spec, "--after", ac922, "--host", ac922))
    assert "without a name" in told(run("prove", "", "--host", ac922))


def on_a_terminal(columns: int, *arguments: object) -> list[str]:
    """Return the lines that ``atoll`` prints on a terminal so wide."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "atoll", *map(str, arguments)]
    with subprocess.Popen(command, stdout=slave, env=environment) as running:
        os.close(slave)
        found = b""
        with suppress(OSError):  # EIO: nobody has the other end any more
            while part := os.read(master, 1 << 16):
                found += part
        assert running.wait() in (0, 1)
    os.close(master)
    return found.decode().splitlines()


def test_lines_are_as_wide_as_the_terminal() -> None:
    for columns, most in ((80, 80), (300, 100)):
        lines = on_a_terminal(columns, "show", "--host", "twin:ac922-4gpu")
        assert most - 5 < max(map(display_width, lines)) <= most, lines


@pytest.mark.parametrize("verb", ["groups", "explain", "plan", "prove", "atoms", "doctor", "iova"])
def test_lines_of_verbs_on_a_narrow_terminal(run: Run, spec: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.report.style.columns_of", lambda stream: 80)
    what: list[object] = [GPU] if verb == "explain" else [spec] if verb in ("plan", "prove", "iova") else []
    assert max(map(len, run(verb, *what, "--host", "twin:ac922-4gpu").out.splitlines())) <= 80


@pytest.mark.parametrize("verb", ["plan", "apply", "hold", "prove", "iova"])
def test_a_cluster_file_from_a_pipe(spec: Path, verb: str) -> None:
    """A pipe is read once: what is read of it a second time is empty."""
    ran = shell(f"cat $1 | atoll {verb} - --host twin:ac922-4gpu --json", spec)
    assert (ran.code in (0, 1, 3), ran.err) == (True, "")
    assert "red" in json.dumps(ran.json)


def test_standard_input_is_for_one(tmp_path: Path) -> None:
    record = tmp_path / "lspci.txt"
    record.write_text("01:00.0 VGA compatible controller [0300]: NVIDIA Corporation GP102 [10de:1b06] (rev a1)\n")
    assert told(shell("atoll prove - --host - < $1", record)) == "atoll: standard input: nothing"


def test_a_plan_from_a_pipe(ac922: Path, spec: Path) -> None:
    ran = shell("atoll plan $1 --host $2 --json | (exec atoll apply /dev/stdin --host $2 --json)", spec, ac922)
    assert (ran.code, ran.err) == (0, "")
    assert ran.json["verdict"] == "proven"
