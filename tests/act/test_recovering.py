"""What recovering does beyond undoing steps: settings of a moment, devices that are gone or taken, restarts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from act_bench import BLUE, RED, SPEC, Watched, apply, host_of, state
from deaths import Death, after, apart, copied, dead_process, deaths
from regroup_bench import regrouping, spoiled

from atoll.act.entries import Run
from atoll.act.executor import execute
from atoll.act.journal import Journal, read_journal
from atoll.act.machine import Machine
from atoll.act.recorded import Recorded
from atoll.act.recover import Fate, Recovered, recover
from atoll.act.release import release
from atoll.act.running import refuse_after_death
from atoll.errors import RefusedError
from atoll.host.fact import Unknown
from atoll.host.model import Host
from atoll.pci.header import Command
from atoll.plan.spec import read_spec
from atoll.plan.step import StepKind
from atoll.twin import Twin

STOCK = SPEC.replace("held", "vfio")
AUTOPROBE = "sys/bus/pci/drivers_autoprobe"
PATH = f"sys/bus/pci/devices/{RED}"


@pytest.fixture(scope="module")
def died() -> list[Death]:
    """Every death of an apply for stock vfio-pci."""
    return deaths(Twin.new("ac922-4gpu"), {}, lambda machine: apply(machine, STOCK))


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
    journal._database.change(
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


def test_what_the_host_needs_and_its_file_permits_is_undone(died: list[Death], monkeypatch: pytest.MonkeyPatch) -> None:
    twin = after(died, f"{BLUE} BAR0")
    permitting = SimpleNamespace(essential=frozenset({BLUE}))
    needing = replace(host_of(twin), essential={BLUE: "console"})
    with monkeypatch.context() as patched:
        patched.setattr("atoll.act.recover.read_host", lambda tree, registers: needing)
        patched.setattr("atoll.act.recover.spec_of", lambda *run, name: permitting)
        found = one(twin)
    assert (found.fate, found.left) == (Fate.ROLLED_BACK, ())
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


def test_links_that_a_restart_left_cut_are_told_by_a_release_too() -> None:
    twin = Twin.new("ac922-4gpu")
    apply(twin)
    cut = dict(twin.kernel.hardware.functions[RED].registers)
    twin.event("reboot")
    twin.kernel.hardware.functions[RED].registers.update(cut)
    host = host_of(twin)
    told = release(twin, host, read_spec(SPEC, host, name="spec")).left
    assert told[1:] == (f"links 0, 2, 4 of {RED} are cut still: the restart did not reset it",)


def test_what_an_earlier_boot_saw_done_is_not_given_back() -> None:
    twin = Twin.new("ac922-4gpu")
    apply(twin)
    twin.event("reboot")
    before = state(twin)
    host = host_of(twin)
    outcome = release(twin, host, read_spec(SPEC, host, name="spec"))
    assert outcome.deeds == ()
    assert len(outcome.left) == 1
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


@pytest.fixture
def stuck(died: list[Death]) -> Iterator[Twin]:
    """A machine off whose second device the driver of VFIO cannot be taken, at first."""
    twin = after(died, "drivers/vfio-pci/bind")
    write = twin.write
    failed: list[str] = []

    def failing(path: str, data: bytes, *, offset: int = 0) -> None:
        if path.endswith("/vfio-pci/unbind") and not failed:
            failed.append(path)
            raise OSError(5, "Input/output error")
        write(path, data, offset=offset)

    twin.write = failing  # type: ignore[method-assign]
    yield twin
    assert failed


def test_a_driver_that_could_not_be_taken_off_at_first_takes_no_other_off(stuck: Twin) -> None:
    """What a step found is what earlier ones had left: once these are undone, it is none of what is to be had back."""
    found = one(stuck)
    assert (found.fate, found.left) == (Fate.ROLLED_BACK, ())
    assert recover(stuck).runs == ()
    assert (state(stuck), read_journal(stuck).entries) == (state(Twin.new("ac922-4gpu")), ())


def test_a_driver_that_could_not_be_taken_off_at_first_takes_no_other_off_after_a_death(stuck: Twin) -> None:
    before = state(Twin.new("ac922-4gpu"))
    for death in apart(deaths(stuck, {}, recover), set()):
        recover(death.twin)
        assert (state(death.twin), read_journal(death.twin).entries) == (before, ()), death.what


def test_a_dry_run_writes_nothing(died: list[Death]) -> None:
    twin = after(died, f"{BLUE} BAR0")
    before, files = state(twin), dict(twin.own_files)
    found = recover(twin, dry_run=True)
    assert [run.fate for run in found.runs] == [Fate.ROLLED_BACK]
    assert found.runs[0].deeds
    assert (state(twin), twin.own_files) == (before, files)
