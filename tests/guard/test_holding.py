"""A holder's life without its processes: on a twin, whose leases are its own."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from act_bench import SPEC, Filed, host_of, lose_journal, planned, state, to_vfio
from holding_bench import holding, proved

from atoll.act.executor import execute
from atoll.act.failure import Failure
from atoll.act.journal import read_journal
from atoll.act.owner import this_process
from atoll.act.running import running
from atoll.errors import InputError, Interrupted, RefusedError, StepError
from atoll.guard.client import Client
from atoll.guard.holding import held_clusters
from atoll.guard.notify import Notifier
from atoll.guard.only_holder import the_only_holder
from atoll.guard.service import Service
from atoll.isolation.proof import Verdict
from atoll.plan.selector import gpus
from atoll.plan.spec import read_spec
from atoll.report.hold import proof_lines
from atoll.report.style import PLAIN
from atoll.twin import Twin


def test_it_achieves_proves_serves_and_gives_back(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    before = state(twin)
    host, plan = planned(twin)
    held = holding(twin)
    held.check(host)
    outcome, found = held.achieve(host, plan)
    assert (found.verdict, outcome.left) == (Verdict.PROVEN, ())
    assert [run.verb for run in read_journal(twin).runs if run.ended is None] == ["hold"]
    path = tmp_path / "run/atoll/hold.sock"

    def started(service: Service) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o711

        def ask() -> None:
            with Client(str(path)) as client:
                told.append(client.proof()["verdict"] if os.getuid() == 0 else "proven")
            service.stop()

        asking.append(threading.Thread(target=ask))
        asking[0].start()

    told: list[str] = []
    asking: list[threading.Thread] = []
    # The twin's own holders are no keepers of ours: they are still there at the end, as tenants would be.
    left = held.serve(host, started)
    asking[0].join(20)
    assert told == ["proven"]
    assert {tenant.name for tenant in left} == {"atoll-hold:red", "atoll-hold:blue"}
    assert not path.exists()
    assert held.end(left).outcome is None
    assert held.end(()).outcome is not None
    assert read_journal(twin).runs == ()
    lose_journal(twin)
    assert state(twin) == before


def test_what_is_not_proven_is_given_back(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    before = state(twin)
    spec = SPEC + "\n[policy]\nsurvive = { machine = 5 }\n"
    host, plan = planned(twin, spec)
    outcome, found = holding(twin, spec).achieve(host, plan)
    assert found.verdict is Verdict.VIOLATED
    assert "so nothing is held" in outcome.left[-1]
    assert read_journal(twin).runs == ()
    assert state(twin) == before


@contextmanager
def told_of_giving_back(twin: Twin, before: object) -> Iterator[None]:
    """What is done here ends with an interrupt that tells that everything was given back, and everything was."""
    # A bare one, let through, would end all tests.
    with pytest.raises(KeyboardInterrupt, match="interrupted before it served: all was given back") as told:
        yield
    assert isinstance(told.value, Interrupted)
    assert told.value.exit_code == 5
    assert state(twin) == before
    assert read_journal(twin).runs == ()


def test_what_goes_wrong_before_it_serves_gives_all_back(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    before = state(twin)
    host, plan = planned(twin)
    held = holding(twin)
    held.achieve(host, plan)

    def interrupted(service: Service) -> None:
        raise KeyboardInterrupt

    with told_of_giving_back(twin, before):
        held.serve(host, interrupted)


def test_the_service_manager_hears_that_it_ends_where_something_goes_wrong(tmp_path: Path) -> None:
    """It waits with killing what is left of a service that says so, for as long as that says."""
    twin = Filed(tmp_path)
    host, plan = planned(twin)
    held = holding(twin)
    held.achieve(host, plan)

    def wrong(service: Service) -> None:
        raise RuntimeError("a defect")

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        held.notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        with pytest.raises(RuntimeError):
            held.serve(host, wrong)
        assert manager.recv(4096) == b"STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000"


def test_an_interrupt_while_it_is_proven_is_told_with_what_became_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = Filed(tmp_path)
    before = state(twin)
    host, plan = planned(twin)
    held = holding(twin)

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("atoll.guard.holding.statement", interrupted)
    with told_of_giving_back(twin, before):
        held.achieve(host, plan)


def test_an_interrupt_once_all_is_done_is_told_with_what_became_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the last step, and between achieving and serving: nothing else is about to tell it."""
    twin = Filed(tmp_path)
    before = state(twin)
    host, plan = planned(twin)
    held = holding(twin)

    def interrupted(*arguments: Any, **options: Any) -> None:
        execute(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("atoll.guard.holding.execute", interrupted)
        with told_of_giving_back(twin, before):
            held.achieve(host, plan)
    held.achieve(host, plan)
    with told_of_giving_back(twin, before), held.given_back_where_interrupted():
        raise KeyboardInterrupt
    # Where nothing is held there is nothing to tell.
    with pytest.raises(KeyboardInterrupt) as bare, held.given_back_where_interrupted():
        raise KeyboardInterrupt
    assert not isinstance(bare.value, Interrupted)


def test_a_journal_that_takes_no_more_before_it_serves_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = Filed(tmp_path)
    before = state(twin)
    host, plan = planned(twin)

    def failing(*arguments: object) -> None:
        raise Failure("the journal cannot be written", hint="see the kernel's log")

    monkeypatch.setattr("atoll.guard.cuts.cut_now", failing)
    with pytest.raises(StepError, match="the journal cannot be written: all was given back") as told:
        holding(twin).achieve(host, plan)
    assert told.value.hint == "see the kernel's log"
    assert state(twin) == before


class Leaving(Filed):
    """The kernel takes the driver off a device: its link has gone, and it has not let go yet."""

    leaving = False

    def readlink(self, path: str) -> str:
        if self.leaving and path.endswith("/driver"):
            raise FileNotFoundError(path)
        return super().readlink(path)

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        if path.endswith("/uevent"):
            return b"DRIVER=vfio-pci\n"
        return super().read(path, offset=offset, size=size)


def test_the_end_waits_for_what_the_kernel_takes_and_not_for_an_owner_who_only_said_so(tmp_path: Path) -> None:
    twin = Leaving(tmp_path)
    red = gpus(host_of(twin))[0]
    to_vfio(twin, red)
    held = holding(twin)
    assert not held._leaves(red)
    twin.leaving = True
    assert held._leaves(red)


def test_a_stray_keeper_is_named(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    host, plan = planned(twin)
    holding(twin).achieve(host, plan)
    with pytest.raises(RefusedError, match="belongs to no holder"):
        holding(twin).check(host_of(twin))


def test_an_owner_whom_nobody_knows_is_told_before_anything_is_done(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    spec = SPEC.replace('handover = "held"', 'handover = "held"\nowner = "nobody knows"', 1)
    with pytest.raises(InputError, match="no user 'nobody knows'"):
        holding(twin, spec).check(host_of(twin))


@pytest.mark.parametrize(
    ("handover", "words"), [("vfio", "no cluster of the file is to be held"), ("broker", "needs a broker")]
)
def test_what_no_holder_can_hold(tmp_path: Path, handover: str, words: str) -> None:
    spec = SPEC.replace("held", handover)
    clusters = read_spec(spec, host_of(Filed(tmp_path)), name="spec")
    with pytest.raises(InputError, match=words):
        held_clusters(clusters)


def test_there_is_one_holder(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    told = f"a holder runs on .*: process {os.getpid()}"
    with the_only_holder(twin), pytest.raises(RefusedError, match=told), the_only_holder(twin):
        pass
    with the_only_holder(twin):
        pass


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_holder_whose_lock_was_taken_away_is_one_still(tmp_path: Path, *, dry_run: bool) -> None:
    """With its folder in /run: the journal tells of it."""
    twin = Filed(tmp_path)
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        started = int(Path(f"/proc/{child.pid}/stat").read_text().split()[21])
        other = replace(this_process(), pid=child.pid, started=started)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("atoll.act.journal.this_process", lambda: other)
            with running(twin, "hold", {}, stays=True):
                pass
        shutil.rmtree(tmp_path / "run")
        told = f"a holder runs on .*: process {child.pid}"
        with pytest.raises(RefusedError, match=told) as refused, the_only_holder(twin, dry_run=dry_run):
            pass
        assert f"kill {child.pid}" in refused.value.hint
    finally:
        child.communicate()
    with the_only_holder(twin, dry_run=dry_run):
        pass


def test_what_stands_in_the_place_of_its_socket_is_told_with_what_became_of_all(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    before = state(twin)
    host, plan = planned(twin)
    held = holding(twin)
    held.achieve(host, plan)
    (tmp_path / "run/atoll/hold.sock").mkdir(parents=True)
    with pytest.raises(StepError, match=r"hold.sock: .*: all was given back.") as told:
        held.serve(host, lambda service: None)
    assert told.value.hint
    assert state(twin) == before
    assert read_journal(twin).runs == ()


def test_a_journal_that_is_lost_while_it_holds_proves_nothing_and_is_told_at_the_end(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    host, plan = planned(twin)
    held = holding(twin)
    held.achieve(host, plan)
    (tmp_path / "var/lib/atoll/journal.sqlite").unlink()
    proof = proved(held)
    assert proof["verdict"] == "unknown"
    assert "the journal (/var/lib/atoll/journal.sqlite) does not tell of it" in proof["reasons"][0]
    assert proof["reasons"][0] in " ".join(" ".join(proof_lines(proof, PLAIN)).split())
    outcome = held.end(()).outcome
    assert outcome is not None
    assert not twin.kernel.open_devices
    # Ports of the bridges above: nothing else gives them back.
    assert [told for told in outcome.left if told.endswith("what was changed of it stays")]
    assert any("was moved away or emptied" in told for told in outcome.left)


def test_what_a_driver_does_not_take_back_is_for_recover_to_give_back(tmp_path: Path) -> None:
    """Release is refused after a holder that did not end in good order."""

    class Refusing(Filed):
        refuses = False

        def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
            if self.refuses and path.endswith("/bind"):
                raise OSError(errno.ENODEV, "No such device")
            super().write(path, data, offset=offset)

    twin = Refusing(tmp_path)
    host, plan = planned(twin)
    held = holding(twin)
    held.achieve(host, plan)
    twin.refuses = True
    with pytest.raises(StepError, match=r"bind of .* failed") as caught:
        held.end(())
    assert caught.value.hint == "once the reason is gone, run atoll recover: it gives back what is left"


def test_who_only_looks_touches_nothing(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    with the_only_holder(twin, dry_run=True):
        assert list(tmp_path.iterdir()) == []
    with the_only_holder(twin):
        written = (tmp_path / "run/atoll/hold.lock").read_bytes()
        told = f"a holder runs on .*: process {os.getpid()}"
        with pytest.raises(RefusedError, match=told), the_only_holder(twin, dry_run=True):
            pass
        assert (tmp_path / "run/atoll/hold.lock").read_bytes() == written


def test_a_socket_that_was_left_behind_is_in_nobodys_way(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    host, plan = planned(twin)
    held = holding(twin)
    held.achieve(host, plan)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as old:
        old.bind(str(tmp_path / "run/atoll/hold.sock"))
    left = held.serve(host, lambda service: [service.stop()].clear())
    assert left
