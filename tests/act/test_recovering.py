"""What recovering does beyond undoing steps: settings of a moment, devices that are gone or taken, restarts, locks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import patch

import pytest
from act_bench import BLUE, RED, SPEC, Visited, Watched, host_of, planned, state
from deaths import Death, copied, dead_process, deaths
from regroup_bench import regrouping, spoiled

from atoll.act.executor import execute
from atoll.act.journal import Journal, Run, read_journal
from atoll.act.lock import LOCK, machine_lock
from atoll.act.machine import Machine
from atoll.act.owner import this_process
from atoll.act.recorded import Recorded
from atoll.act.recover import Fate, Recovered, recover
from atoll.act.release import release
from atoll.act.running import end_runs, refuse_after_death
from atoll.errors import RefusedError, StepError
from atoll.host.fact import Unknown
from atoll.host.model import Host
from atoll.pci.header import Command
from atoll.plan.spec import read_spec
from atoll.plan.step import StepKind
from atoll.twin import Twin

STOCK = SPEC.replace("held", "vfio")
AUTOPROBE = "sys/bus/pci/drivers_autoprobe"
PATH = f"sys/bus/pci/devices/{RED}"


def apply(machine: Machine, spec: str = SPEC) -> None:
    host, made = planned(machine, spec)
    execute(machine, host, made)


@pytest.fixture(scope="module")
def died() -> list[Death]:
    """Every death of an apply for stock vfio-pci."""
    return deaths(Twin.new("ac922-4gpu"), {}, lambda machine: apply(machine, STOCK))


def after(died: list[Death], what: str) -> Twin:
    """The machine that died right after its last write of this kind."""
    return copied([death for death in died if what in death.what][-1].twin)


def one(twin: Twin) -> Recovered:
    (found,) = recover(twin).runs
    return found


class Probing(Watched):
    """A twin whose kernel can be kept from probing drivers."""

    probes = b"1\n"

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        return self.probes if path == AUTOPROBE else super().read(path, offset=offset, size=size)

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        if path == AUTOPROBE:
            self.probes = data.strip() + b"\n"
        else:
            super().write(path, data, offset=offset)


def test_settings_of_a_moment_are_put_back() -> None:
    twin = Twin.new("ac922-4gpu")
    probing = Probing(twin)
    twin.write(f"{PATH}/driver/unbind", str(RED).encode())
    function = twin.kernel.hardware.functions[RED]
    function.set_command(off=Command.MEMORY)
    order = twin.read(f"{PATH}/reset_method")
    twin.write(f"{PATH}/reset_method", order)
    before = state(twin)
    with dead_process():
        journal = Journal(probing)
        journal.begin("apply")
        machine = Recorded(probing, journal, lambda machine, address: None)
        machine.write(AUTOPROBE, b"0")
        assert probing.probes == b"0\n"
        machine.write(f"{PATH}/reset_method", b"bus")
        command = function.get(4, 2) | Command.MEMORY
        machine.write(f"{PATH}/config", command.to_bytes(2, "little"), offset=4)
        journal.close()
    assert state(twin) != before
    found = recover(probing)
    assert [run.fate for run in found.runs] == [Fate.ROLLED_BACK]
    assert len(found.restored) == 3 - (order.split() == [b"bus"])
    assert probing.probes == b"1\n"
    assert twin.read(f"{PATH}/reset_method") == order
    assert state(twin) == before


def test_recovering_that_dies_at_its_very_end_takes_nothing_back_that_it_had_put_back() -> None:
    twin = Twin.new("ac922-4gpu")
    probing = Probing(twin)
    with dead_process():
        journal = Journal(probing)
        journal.begin("apply")
        Recorded(probing, journal, lambda machine, address: None).write(AUTOPROBE, b"0")
        journal.close()
    end = Journal.end

    def ends(self: Journal, *runs: Run) -> None:
        """The run that it recovered has ended, its own has not."""
        if any(run.verb == "recover" for run in runs):
            raise Died
        end(self, *runs)

    class Died(BaseException):
        pass

    with dead_process(), patch.object(Journal, "end", ends), pytest.raises(Died):
        recover(probing)
    assert probing.probes == b"1\n"
    assert [run.verb for run in read_journal(probing).dead] == ["recover"]
    found = recover(probing)
    assert [run.fate for run in found.runs] == [Fate.ROLLED_BACK]
    assert probing.probes == b"1\n"
    assert found.restored == ()


def test_memory_decoding_of_a_device_in_use_stays() -> None:
    twin = Twin.new("ac922-4gpu")
    with dead_process():
        journal = Journal(twin)
        journal.begin("apply")
        function = twin.kernel.hardware.functions[RED]
        function.set_command(off=Command.MEMORY)
        machine = Recorded(twin, journal, lambda machine, address: None)
        machine.write(f"{PATH}/config", b"\6\0", offset=4)
        journal.close()
    assert recover(twin).restored == ()
    assert Command.MEMORY in function.command


def test_a_device_with_a_running_owner_stays_and_so_do_all_cuts(died: list[Death]) -> None:
    twin = after(died, f"{BLUE} BAR0")
    twin.event("vm-start", [RED])
    before = state(twin)
    found = one(twin)
    assert found.fate is Fate.LEFT
    assert any(f"{RED} is open in process" in left and "recover again" in left for left in found.left)
    assert state(twin) == before
    with pytest.raises(RefusedError, match="an earlier run died"):
        refuse_after_death(twin)
    twin.event("vm-stop", [RED])
    assert one(twin).fate is Fate.ROLLED_BACK
    assert state(twin) == state(Twin.new("ac922-4gpu"))


def test_of_a_device_that_was_exchanged_nothing_is_left_to_undo(died: list[Death]) -> None:
    twin = after(died, f"{BLUE} BAR0")
    journal = Journal(twin)
    journal._database.begin()
    journal._database.connection.execute(
        "UPDATE entry SET before = replace(before, '10de:1db1 at', '10de:1db5 at') WHERE step LIKE ?", (f"%{BLUE}%",)
    )
    journal._database.commit()
    journal.close()
    driver = twin.readlink(f"sys/bus/pci/devices/{BLUE}/driver")
    found = one(twin)
    assert found.fate is Fate.ROLLED_BACK
    assert any(f"{BLUE} is another device now" in left for left in found.left)
    assert twin.readlink(f"sys/bus/pci/devices/{BLUE}/driver") == driver
    assert twin.readlink(f"{PATH}/driver").endswith("/nouveau")


def test_a_device_that_does_not_tell_its_serial_number_is_not_taken_for_another(died: list[Death]) -> None:
    twin = after(died, f"{BLUE} BAR0")
    entries = {entry.number for entry in read_journal(twin).entries if entry.step.device == BLUE}

    def mute(tree: Machine, registers: object) -> Host:
        host = host_of(tree)
        other = replace(host.functions[BLUE], serial=Unknown("it does not answer"), device=0x1DB5)
        return replace(host, functions={**host.functions, BLUE: other})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("atoll.act.recover.read_host", mute)
        patched.setattr("atoll.act.running.fingerprint", lambda function: "another")
        found = one(twin)
    assert found.fate is Fate.LEFT
    assert entries & {entry.number for entry in read_journal(twin).entries}
    assert one(twin).fate is Fate.ROLLED_BACK
    assert state(twin) == state(Twin.new("ac922-4gpu"))


@pytest.mark.parametrize(("fails", "fate"), [(True, Fate.LEFT), (False, Fate.ROLLED_BACK)], ids=["refused", "pulled"])
def test_what_was_removed_and_is_not_found(fails: bool, fate: Fate) -> None:
    found = deaths(spoiled(), {}, lambda machine: execute(machine, host_of(machine), regrouping(machine)))
    twin = copied([death for death in found if death.what.endswith("/remove")][-1].twin)
    write = twin.write

    def deaf(path: str, data: bytes, *, offset: int = 0) -> None:
        if not path.endswith("/rescan"):
            write(path, data, offset=offset)
        elif fails:
            raise OSError(5, "Input/output error")

    twin.write = deaf  # type: ignore[method-assign]
    assert one(twin).fate is fate
    twin.write = write  # type: ignore[method-assign]
    if fails:
        assert one(twin).fate is Fate.ROLLED_BACK
        assert state(twin) == state(spoiled())
    assert recover(twin).runs == ()


def test_of_a_device_that_was_pulled_nothing_is_left_to_undo(died: list[Death]) -> None:
    twin = after(died, f"{BLUE} BAR0")
    twin.write(f"{PATH}/remove", b"1")
    found = one(twin)
    assert found.fate is Fate.ROLLED_BACK
    assert f"{RED} is not there any more" in found.left
    assert read_journal(twin).entries == ()
    assert twin.readlink(f"sys/bus/pci/devices/{BLUE}/driver").endswith("/nouveau")


def test_what_the_host_needs_by_now_is_left(died: list[Death], monkeypatch: pytest.MonkeyPatch) -> None:
    twin = after(died, f"{BLUE} BAR0")

    def needing(tree: Machine, registers: object) -> object:
        return replace(host_of(tree), essential={BLUE: "console"})

    with monkeypatch.context() as patched:
        patched.setattr("atoll.act.recover.read_host", needing)
        found = one(twin)
    assert found.fate is Fate.LEFT
    assert any(f"of {BLUE} stays: console" in left for left in found.left)
    assert {entry.step.device for entry in read_journal(twin).entries} == {BLUE}
    assert one(twin).fate is Fate.ROLLED_BACK
    assert state(twin) == state(Twin.new("ac922-4gpu"))


def test_after_a_restart_nothing_is_undone(died: list[Death]) -> None:
    twin = after(died, f"{BLUE} BAR0")
    twin.event("reboot")
    before = state(twin)
    found = one(twin)
    assert (found.fate, found.deeds, found.left) == (Fate.RESTARTED, (), ())
    assert state(twin) == before
    assert read_journal(twin).runs == ()


def test_links_that_a_restart_left_cut_are_told(died: list[Death]) -> None:
    twin = after(died, f"{BLUE} BAR0")
    cut = dict(twin.kernel.hardware.functions[RED].registers)
    twin.event("reboot")
    # A kernel that was started by another (kexec) resets nothing.
    twin.kernel.hardware.functions[RED].registers.update(cut)
    assert one(twin).left == (f"links 0, 2, 4 of {RED} are cut still: the restart did not reset it",)


def test_what_an_earlier_boot_saw_done_is_not_given_back() -> None:
    twin = Twin.new("ac922-4gpu")
    apply(twin)
    twin.event("reboot")
    before = state(twin)
    host = host_of(twin)
    outcome = release(twin, host, read_spec(SPEC, host, name="spec"))
    assert outcome.deeds == ()
    assert "a restart of the machine undid" in outcome.left[0]
    assert state(twin) == before
    apply(twin)
    assert {run.machine_boot for run in read_journal(twin).runs} == {
        twin.read("proc/sys/kernel/random/boot_id").decode().strip()
    }


def test_a_release_whose_clusters_cannot_be_told_is_left(died: list[Death]) -> None:
    twin = Twin.new("ac922-4gpu")
    apply(twin)

    def give_back(machine: Machine) -> None:
        host = host_of(machine)
        release(machine, host, read_spec(SPEC, host, name="spec"), spec="no cluster file")

    (death, *_) = deaths(twin, {}, give_back, wanted=lambda number: number == 12)
    found = one(death.twin)
    assert found.fate is Fate.LEFT
    assert "cluster file of the release" in found.left[0]


def test_what_cannot_be_undone_can_be_tried_again(died: list[Death]) -> None:
    twin = after(died, f"{BLUE} BAR0")
    write = twin.write

    def failing(path: str, data: bytes, *, offset: int = 0) -> None:
        if path.endswith("/bind"):
            raise OSError(5, "Input/output error")
        write(path, data, offset=offset)

    twin.write = failing  # type: ignore[method-assign]
    found = one(twin)
    assert found.fate is Fate.LEFT
    assert any("could not be undone" in left for left in found.left)
    twin.write = write  # type: ignore[method-assign]
    assert {entry.step.kind for entry in read_journal(twin).entries} == {StepKind.UNBIND}
    assert one(twin).fate is Fate.ROLLED_BACK
    assert state(twin) == state(Twin.new("ac922-4gpu"))


def test_a_dry_run_writes_nothing(died: list[Death]) -> None:
    twin = after(died, f"{BLUE} BAR0")
    before, files = state(twin), dict(twin.own_files)
    found = recover(twin, dry_run=True)
    assert [run.fate for run in found.runs] == [Fate.ROLLED_BACK]
    assert found.runs[0].deeds
    assert (state(twin), twin.own_files) == (before, files)


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
    assert one(twin).fate is Fate.ROLLED_BACK
    assert state(twin) == state(Twin.new("ac922-4gpu"))


def test_what_fails_does_not_stay() -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    bad = replace(made.steps[-1], kind=StepKind.CUT_LINKS, control="nvlink-mask-v100", links=(0,), mask=1, id="bad")
    with pytest.raises(StepError):
        execute(twin, host, replace(made, steps=(*made.steps, bad)), stays=True)
    assert read_journal(twin).runs == ()


# -- locks


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
    with dead_process():
        journal = Journal(twin)
        journal.begin("apply")
        journal.close()
    with machine_lock(twin), pytest.raises(RefusedError, match="another atoll is changing"):
        recover(twin)


# -- a real process


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
    assert (tmp_path / LOCK).read_bytes() == b""
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
    group = twin.readlink(f"{PATH}/iommu_group").rpartition("/")[2]
    (found,) = recover(Posing(twin, "/dev/vfio/vfio", f"/dev/vfio/{group}")).runs
    assert found.fate is Fate.LEFT
    assert any("5000 (atoll-hold:red)" in left for left in found.left)
    assert twin.peek(RED, "bar0", 0xA00148) == mask != 0
