"""A mount namespace that shows atoll other files of its own than the host's."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.act.live import LiveMachine
from atoll.act.live.namespace import check_shared, root_of_host
from atoll.errors import RefusedError
from atoll.host.holders import FIRST_NAMESPACE

RUN, STATE = "run/atoll", "var/lib/atoll"


def seen(tmp_path: Path, *, here: tuple[str, ...], first: Path | None) -> str:
    """A root with folders, and a process 1 that sees another, the same, or cannot be looked at."""
    root = tmp_path / "here"
    for folder in here:
        (root / folder).mkdir(parents=True)
    (root / "proc/1").mkdir(parents=True)
    if first is not None:
        (root / "proc/1/root").symlink_to(first)
    return f"{root}/"


@pytest.mark.parametrize("here", [(RUN, STATE), ("run", "var"), ()])
def test_the_hosts_own_are_the_same_be_they_there_yet_or_not(tmp_path: Path, here: tuple[str, ...]) -> None:
    check_shared(seen(tmp_path, here=here, first=tmp_path / "here"))


@pytest.mark.parametrize("theirs", [(RUN, STATE), ("run", "var"), ()])
@pytest.mark.parametrize("here", [(RUN, STATE), ("run", "var"), (RUN,)])
def test_others_are_refused(tmp_path: Path, here: tuple[str, ...], theirs: tuple[str, ...]) -> None:
    for folder in theirs:
        (tmp_path / "host" / folder).mkdir(parents=True)
    (tmp_path / "host").mkdir(exist_ok=True)
    root = seen(tmp_path, here=here, first=tmp_path / "host")
    with pytest.raises(RefusedError, match=r"/run/atoll here is not the host's") as caught:
        check_shared(root)
    assert "-v /run/atoll:/run/atoll" in caught.value.hint


def test_one_of_the_two_is_not_enough(tmp_path: Path) -> None:
    host = tmp_path / "host"
    (host / STATE).mkdir(parents=True)
    root = seen(tmp_path, here=(RUN, STATE), first=host)
    (host / "run").symlink_to(tmp_path / "here/run")
    with pytest.raises(RefusedError, match=r"/var/lib/atoll here is not the host's"):
        check_shared(root)
    (host / STATE).rmdir()
    (host / STATE).symlink_to(tmp_path / "here" / STATE)
    check_shared(root)


def test_the_hosts_journal_is_read_where_it_is_shown(tmp_path: Path) -> None:
    host = tmp_path / "host"
    (host / STATE).mkdir(parents=True)
    root = seen(tmp_path, here=(RUN, STATE), first=host)
    assert root_of_host(root) is None, "process 1 may be a container's"
    (tmp_path / "here/proc/1/ns").mkdir()
    assert root_of_host(root) == f"{root}proc/1/root/", "a kernel without PID namespaces"
    namespace = tmp_path / "here/proc/1/ns/pid"
    namespace.symlink_to("pid:[4026532281]")
    assert root_of_host(root) is None
    namespace.unlink()
    namespace.symlink_to(FIRST_NAMESPACE)
    assert root_of_host(root) == f"{root}proc/1/root/"
    found = LiveMachine(root=root).of_host()
    assert found is not None
    place = found.state_path(f"{STATE}/journal.sqlite")
    assert place is not None
    assert place.parent.samefile(host / STATE)


def test_the_hosts_own_machine_is_its_own_witness(tmp_path: Path) -> None:
    root = seen(tmp_path, here=(), first=tmp_path / "here")
    (tmp_path / "here/proc/1/ns").mkdir()
    (tmp_path / "here/proc/1/ns/pid").symlink_to(FIRST_NAMESPACE)
    machine = LiveMachine(root=root)
    assert machine.of_host() is machine


def test_who_does_not_see_process_1_is_not_kept_from_it(tmp_path: Path) -> None:
    check_shared(seen(tmp_path, here=(RUN, STATE), first=None))
