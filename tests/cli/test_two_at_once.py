"""Several atolls at once on one machine, in processes of their own, of which one may be stopped or killed.

ATOLL_PAIRS=N tries N pairs; by default it is a few.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from live_root import DEVICE, Played, played_root

from atoll.act.journal import read_journal
from atoll.act.lock import LOCK, machine_lock
from atoll.cli.main import main

PAIRS = int(os.environ.get("ATOLL_PAIRS", "5"))
VERBS = {
    "apply": ("apply", "red.toml"),
    "apply another's": ("apply", "blue.toml"),
    "dry run": ("apply", "red.toml", "--dry-run"),
    "release": ("release", "red.toml"),
    "release another's": ("release", "blue.toml"),
    "recover": ("recover",),
}
CHANGING = ("apply", "apply another's", "release", "recover")
DEFECT = 99


class Struck(Played):
    """Whose process gets a signal before its n-th change. Made as the program makes it."""

    def __init__(self, folder: Path, at: int, number: int, **options: object) -> None:
        def strike(path: str) -> None:
            if len(self.writes) == at:
                os.kill(os.getpid(), number)

        super().__init__(folder, before_write=strike)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for cluster in ("red", "blue"):
        text = f'[cluster.{cluster}]\ndevices = ["{DEVICE}"]\nhandover = "vfio"\n'
        (tmp_path / f"{cluster}.toml").write_text(text)
    (tmp_path / "root").mkdir()
    monkeypatch.chdir(tmp_path)
    return played_root(tmp_path / "root")


def begun(folder: Path, verb: str, name: str, at: int = -1, number: int = 0) -> int:
    """Begin a verb in a process of its own, whose errors go to a file; return its number."""
    child = os.fork()
    if child:
        return child
    code = DEFECT
    try:
        import atoll.act.live

        atoll.act.live.LiveMachine = functools.partial(Struck, folder, at, number)  # type: ignore[assignment, misc]
        with open(f"{name}.err", "w") as err, open(os.devnull, "w") as out:
            sys.stdout, sys.stderr = out, err
            code = main(VERBS[verb])
    finally:
        os._exit(code)


def is_stopped(child: int) -> bool:
    """Whether a process stops before it ends; what it ends with is left to be waited for."""
    found = os.waitid(os.P_PID, child, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return found is not None and found.si_code == os.CLD_STOPPED


def ended(child: int, name: str) -> int:
    """Return the exit code of a verb once it has ended; what is refused is told in two lines."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    told = Path(f"{name}.err").read_text()
    assert code in (0, 1, 3, 4, -signal.SIGKILL), (name, code, told)
    if code == 4:
        first, second = told.splitlines()
        assert first.startswith("atoll: ")
        assert second.startswith("  ")
    return code


def shape(folder: Path) -> SimpleNamespace:
    """What may be changed there."""
    device = folder / "sys/bus/pci/devices" / str(DEVICE)
    override = (device / "driver_override").read_text().strip()
    return SimpleNamespace(driver=Played(folder).driver(DEVICE), override=override.removeprefix("(null)"))


def left(folder: Path) -> list[str]:
    """What a verb has left behind that keeps another from its work, or is not told."""
    with machine_lock(Played(folder)):
        pass
    found = [f"run {run.verb}" for run in read_journal(Played(folder)).runs if run.ended is None and not run.died]
    own = {LOCK, *(f"var/lib/atoll/journal.sqlite{end}" for end in ("", ".reserve", "-journal"))}
    return found + [
        str(path) for path in folder.rglob("*atoll/*") if str(path.relative_to(folder)) not in own and path.is_file()
    ]


@pytest.mark.parametrize("seed", range(PAIRS))
def test_one_wins_the_other_says_so_and_nothing_is_left_half_done(folder: Path, seed: int) -> None:
    dice = random.Random(seed)
    before = shape(folder)
    for number in range(3):
        verbs = dice.choice(CHANGING), dice.choice(tuple(VERBS))
        how = dice.choice((0, signal.SIGSTOP, signal.SIGKILL, signal.SIGKILL))
        one, other = f"{seed}-{number}-a", f"{seed}-{number}-b"
        first = begun(folder, verbs[0], one, dice.randrange(6), how)
        stopped = how == signal.SIGSTOP and is_stopped(first)
        code = ended(begun(folder, verbs[1], other), other)
        if stopped:
            if VERBS[verbs[1]][-1] != "--dry-run":
                assert code == 4
                assert "and is stopped" in Path(f"{other}.err").read_text()
            os.kill(first, signal.SIGCONT)
        ended(first, one)
        assert left(folder) == [], (verbs, how)
    for verb in ("recover", "release", "release another's"):
        # What blue was given is not red's to release.
        assert ended(begun(folder, verb, verb), verb) == 0 or verb == "release"
    assert shape(folder) == before
    assert read_journal(Played(folder)).runs == ()
