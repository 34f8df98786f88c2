"""Recovering beside processes: runs that live on, locks, processes that were killed, owners beside a holder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from act_bench import BLUE, RED, SPEC, Visited, Watched, apply, planned, state
from deaths import after, dead_process, dead_run, deaths

from atoll.act.executor import execute
from atoll.act.journal import Journal, read_journal
from atoll.act.lock import LOCK, machine_lock
from atoll.act.owner import is_alive, this_process
from atoll.act.pace import Pace
from atoll.act.recover import Fate, recover
from atoll.act.running import end_runs, refuse_after_death
from atoll.errors import RefusedError, StepError
from atoll.plan.step import StepKind
from atoll.twin import Twin


def test_a_run_whose_process_lives_is_not_touched() -> None:
    twin = Twin.new("ac922-4gpu")
    journal = Journal(twin)
    journal.begin("hold", spec=SPEC)
    journal.close()
    assert recover(twin).runs == ()
    apply(twin)


def test_what_stays_is_its_process_work_until_it_ends() -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    execute(twin, host, made, verb="hold", stays=True)
    (run,) = read_journal(twin).runs
    assert (run.verb, run.ended, run.owner) == ("hold", None, this_process())
    assert recover(twin).runs == ()
    end_runs(twin)
    assert read_journal(twin).runs[0].ended is not None
    assert recover(twin).runs == ()


def test_a_holder_that_died_is_rolled_back() -> None:
    twin = Twin.new("ac922-4gpu")
    with dead_process():
        host, made = planned(twin)
        execute(twin, host, made, verb="hold", stays=True)
    twin.event("kill", [RED])
    twin.event("kill", [BLUE])
    assert [run.fate for run in recover(twin).runs] == [Fate.ROLLED_BACK]
    assert state(twin) == state(Twin.new("ac922-4gpu"))


def test_a_keeper_that_the_kernel_has_not_let_end_is_waited_for() -> None:
    """It was killed with its holder, in the middle of a reset say: taking the driver off would wait in the kernel."""
    twin = Twin.new("ac922-4gpu")
    with dead_process():
        host, made = planned(twin)
        execute(twin, host, made, verb="hold", stays=True)
    twin.event("kill", [BLUE])
    machine = Watched(twin)
    # As a live machine, on which only a holder holds.
    machine.capabilities -= {"hold"}
    (found,) = recover(machine, pace=Pace(wait=lambda seconds: None, clock=iter(range(0, 1000, 60)).__next__)).runs
    assert found.fate is Fate.LEFT
    (left,) = found.left
    assert left.startswith(f"{RED} is open in process")
    assert left.endswith(
        "(atoll-hold:red), which has not ended with its holder; when it has ended, run atoll recover again"
    )
    assert not [change for change in machine.changes if "driver" in change or "open" in change]
    assert not twin.attack(RED, BLUE).reached
    pace = Pace(wait=lambda seconds: twin.event("kill", [RED]))
    assert [run.fate for run in recover(machine, pace=pace).runs] == [Fate.ROLLED_BACK]
    assert state(twin) == state(Twin.new("ac922-4gpu"))


def test_what_fails_does_not_stay() -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    bad = replace(made.steps[-1], kind=StepKind.CUT_LINKS, control="nvlink-mask-v100", links=(0,), mask=1, id="bad")
    with pytest.raises(StepError):
        execute(twin, host, replace(made, steps=(*made.steps, bad)), stays=True)
    assert read_journal(twin).runs == ()


def test_the_lock_of_a_process_that_died_is_in_nobodys_way() -> None:
    twin = Twin.new("ac922-4gpu")
    with dead_process(), machine_lock(twin):
        left = twin.read(LOCK)
    for content in (left, left[:20], b"garbage", b"[]\n", b'{"pid": "x"}'):
        twin.write(LOCK, content)
        with machine_lock(twin):
            assert json.loads(twin.read(LOCK)) == asdict(this_process())


def test_recovering_waits_for_nobody() -> None:
    twin = Twin.new("ac922-4gpu")
    dead_run(twin)
    with machine_lock(twin), pytest.raises(RefusedError, match="another atoll is changing"):
        recover(twin)


KILLED = """
import os, signal, sys
from pathlib import Path
from act_bench import Watched, planned
from atoll.act.executor import execute
from atoll.twin import Twin

class Filed(Watched):
    def state_path(self, path):
        return folder / path

    def change(self, what, act):
        super().change(what, act)
        if len(self.changes) == int(sys.argv[2]):
            self.twin.save(folder / "twin")
            os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
machine = Filed(Twin.new("ac922-4gpu"))
host, made = planned(machine)
execute(machine, host, made)
"""


@pytest.mark.parametrize("number", [2, 9, 17])
def test_a_process_that_was_killed_is_recovered_from(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(number)]
    here = os.pathsep.join(path for path in sys.path if path)
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": here}, capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr

    class Filed(Watched):
        def state_path(self, path: str) -> Path | None:
            return tmp_path / path

    machine = Filed(Twin.load(tmp_path / "twin"))
    with pytest.raises(RefusedError, match="an earlier run died"):
        refuse_after_death(machine)
    last = read_journal(machine).writes[-1]
    assert not last.done
    found = recover(machine)
    assert [run.fate for run in found.runs] == [Fate.ROLLED_BACK]
    assert state(machine.twin) == state(Twin.new("ac922-4gpu"))
    assert (tmp_path / LOCK).read_bytes().strip() == b""
    with machine_lock(machine), pytest.raises(RefusedError, match="another atoll"), machine_lock(machine):
        pass


@pytest.mark.parametrize("files", [("/dev/vfio/vfio", "/dev/vfio/1"), ("anon_inode:[vfio-device]",)])
def test_an_owner_beside_a_holder_that_has_not_ended_yet_keeps_its_cuts(files: tuple[str, ...]) -> None:
    twin = after(deaths(Twin.new("ac922-4gpu"), {}, apply), f"{BLUE} BAR0")
    mask = twin.peek(RED, "bar0", 0xA00148)
    assert mask
    (found,) = recover(Visited(twin, *files)).runs
    assert found.fate is Fate.LEFT
    assert any("5000 (qemu)" in left for left in found.left)
    assert twin.peek(RED, "bar0", 0xA00148) == mask
    (found,) = recover(twin).runs
    assert found.fate is Fate.ROLLED_BACK


def test_an_owner_who_calls_himself_as_the_holder_keeps_its_cuts() -> None:
    class Posing(Visited):
        """The owner's process bears the holder's name, as whoever was handed a device may have it."""

        def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
            told = {"proc/5000/comm": b"atoll-hold:red\n", "proc/5000/status": b"Uid:\t1000\t1000\t1000\t1000\n"}
            return told.get(path) or super().read(path, offset=offset, size=size)

    twin = after(deaths(Twin.new("ac922-4gpu"), {}, apply), f"{BLUE} BAR0")
    mask = twin.peek(RED, "bar0", 0xA00148)
    group = twin.readlink(f"sys/bus/pci/devices/{RED}/iommu_group").rpartition("/")[2]
    (found,) = recover(Posing(twin, "/dev/vfio/vfio", f"/dev/vfio/{group}")).runs
    assert found.fate is Fate.LEFT
    assert any("5000 (atoll-hold:red)" in left for left in found.left)
    assert twin.peek(RED, "bar0", 0xA00148) == mask != 0


def test_a_process_that_nobody_has_waited_for_runs_no_more() -> None:
    """It keeps its number until then, and holds nothing."""
    child = os.fork()
    if not child:
        os._exit(0)
    try:
        stat = Path(f"/proc/{child}/stat")
        assert Pace().until(lambda: stat.read_bytes().rpartition(b")")[2].split()[:1] == [b"Z"], seconds=20)
        assert not is_alive(replace(this_process(), pid=child, started=0))
    finally:
        os.waitpid(child, 0)
