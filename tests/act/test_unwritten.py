"""What keeps a journal from being written: told apart, with what to do about each."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from act_bench import Filed

from atoll.act.database import RESERVE
from atoll.act.database_layout import PATH
from atoll.act.entries import Write
from atoll.act.failure import Failure
from atoll.act.journal import Journal
from atoll.act.running import running
from atoll.act.unwritten import cause_of
from atoll.errors import StepError

LARGE = Write("", "sys/x", b"1")


@contextmanager
def no_more_files(folder: Path) -> Iterator[None]:
    """As many files are open as may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        top = os.open("/dev/null", os.O_RDONLY)
        stack.callback(os.close, top)
        resource.setrlimit(resource.RLIMIT_NOFILE, (top + 8, hard))
        while True:
            try:
                taken.append(os.open("/dev/null", os.O_RDONLY))
                stack.callback(os.close, taken[-1])
            except OSError:
                break
        yield


@contextmanager
def folder_away(folder: Path) -> Iterator[None]:
    """Somebody has moved the folder."""
    os.rename(folder / "var/lib/atoll", folder / "elsewhere")
    yield
    os.rename(folder / "elsewhere", folder / "var/lib/atoll")


WRONG: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "files": (no_more_files, errno.EMFILE, "ulimit -n"),
    "folder": (folder_away, errno.ENOENT, "have its folder back"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_disk_with_room_is_not_called_full(tmp_path: Path, what: str) -> None:
    wrong, number, hint = WRONG[what]
    with closing(Journal(Filed(tmp_path))) as journal:
        journal.reserve()
        journal.begin("apply")
        with wrong(tmp_path), pytest.raises(Failure) as caught:  # type: ignore[attr-defined]
            journal.announce(LARGE)
        assert caught.value.message == f"{PATH}: {os.strerror(number)}"
        assert hint in caught.value.hint
        assert (tmp_path / RESERVE).exists()
        journal.check_room()
        journal.announce(LARGE)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT, errno.ENFILE])
def test_what_the_kernel_says_is_what_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refused(*arguments: object, **keywords: object) -> int:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "journal.sqlite"
    path.touch()
    error = sqlite3.OperationalError("unable to open database file")
    error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    assert (cause_of(path, error).errno, str(cause_of(path, error))) == (5, "[Errno 5] unable to open database file")
    monkeypatch.setattr("atoll.act.unwritten.os.open", refused)
    assert cause_of(path, error).errno == number


def test_a_file_system_without_nameless_files_tells_by_its_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS and older overlays are."""

    def unknown(*arguments: object, **keywords: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    error = sqlite3.OperationalError("unable to open database file")
    monkeypatch.setattr("atoll.act.unwritten.os.open", unknown)
    path = tmp_path / "journal.sqlite"
    assert cause_of(path, error).errno == errno.EIO
    found = os.statvfs(tmp_path)
    full = os.statvfs_result((*found[:3], 0, 0, *found[5:]))
    monkeypatch.setattr("atoll.act.unwritten.os.statvfs", lambda folder: full)
    assert cause_of(path, error).errno == errno.ENOSPC


def test_what_ends_while_its_journal_cannot_be_written_says_why_and_is_for_recover(tmp_path: Path) -> None:
    with (
        pytest.raises(StepError, match="No such file or directory") as caught,
        ExitStack() as stack,
        running(Filed(tmp_path), "apply", {}),
    ):
        stack.enter_context(folder_away(tmp_path))
    assert caught.value.hint == "have its folder back (/var/lib/atoll), then run atoll recover"
