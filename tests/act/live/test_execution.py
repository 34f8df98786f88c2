"""Plans on the running machine, played by a folder: carried out, or told clearly why not and nothing half done."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from deaths import dead_process
from live_root import DEVICE, SPEC, Played, clusters, planned, played_root

from atoll.act.entries import Write
from atoll.act.executor import execute
from atoll.act.journal import Journal, read_journal
from atoll.act.recorded import Recorded
from atoll.act.recover import Fate, recover
from atoll.act.release import release
from atoll.controls.present import present
from atoll.errors import RefusedError, StepError
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.pci.address import Address
from atoll.plan.document import to_document
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.plan.step import StepKind


@pytest.fixture
def machine(tmp_path: Path) -> Played:
    return Played(played_root(tmp_path))


def state(machine: Played) -> dict[str, bytes]:
    """Every file and link but atoll's own."""
    found = {}
    for folder, folders, files in os.walk(machine.folder):
        for name in (*files, *folders):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                found[path] = os.readlink(path).encode()
            elif os.path.isfile(path) and "atoll" not in path and name not in ("bind", "unbind"):
                with open(path, "rb") as file:
                    found[path] = file.read()
    return found


def test_applied_and_released(machine: Played) -> None:
    host, made = planned(machine)
    driver = machine.driver(DEVICE)
    assert driver not in (None, "vfio-pci")
    assert not made.impossible
    execute(machine, host, made)
    assert machine.driver(DEVICE) == "vfio-pci"
    now = read_host(machine)
    release(machine, now, clusters(now))
    assert machine.driver(DEVICE) == driver


def test_a_dry_run_writes_nothing_and_opens_nothing_for_writing(machine: Played) -> None:
    host, made = planned(machine)
    opened: list[str] = []
    watching = True

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[2], int):
            path = os.fsdecode(arguments[0]) if not isinstance(arguments[0], int) else ""
            if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and path.startswith(str(machine.folder)):
                opened.append(path)

    sys.addaudithook(audit)
    try:
        before = state(machine)
        outcome = execute(machine, host, made, dry_run=True)
        assert outcome.dry_run
        assert (machine.writes, opened) == ([], [])
        assert state(machine) == before
        assert not (machine.folder / "var/lib/atoll").exists()
        execute(machine, host, made)
        assert opened, "the hook sees what is opened for writing"
    finally:
        watching = False


def test_a_driver_that_is_not_loaded_is_told_before_anything_is_done(machine: Played) -> None:
    host, made = planned(machine)
    driver = machine.folder / "sys/bus/pci/drivers/vfio-pci"
    for file in driver.iterdir():
        file.unlink()
    driver.rmdir()
    with pytest.raises(RefusedError, match="the driver vfio-pci is not loaded") as caught:
        execute(machine, host, made)
    assert caught.value.hint == "modprobe vfio-pci"
    assert machine.writes == []


@pytest.mark.parametrize("noticed", [True, False])
def test_another_device_at_the_address_is_refused(machine: Played, noticed: bool) -> None:
    host, made = planned(machine)
    machine.exchange(DEVICE, noticed=noticed)
    with pytest.raises(RefusedError, match="is not the device that"):
        execute(machine, host, made)
    assert machine.writes == []


def test_a_device_that_vanished_is_refused(machine: Played) -> None:
    host, made = planned(machine)
    machine.pull(DEVICE)
    with pytest.raises(RefusedError, match=f"{DEVICE} is not there"):
        execute(machine, host, made)
    assert machine.writes == []


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("kind", [StepKind.UNBIND, StepKind.QUIESCE, StepKind.BIND])
def test_a_device_exchanged_between_steps_is_not_written_to(machine: Played, kind: StepKind, noticed: bool) -> None:
    host, made = planned(machine)
    writes: list[str] = []

    def progress(number: int, count: int, step: Any) -> None:
        if step.kind is kind and step.device == DEVICE:
            machine.exchange(DEVICE, noticed=noticed)
            writes.extend(machine.writes)

    begun = kind is not StepKind.UNBIND
    with pytest.raises(StepError if begun else RefusedError, match="is not the device that"):
        execute(machine, host, made, progress=progress)
    # What was exchanged gets nothing more, neither by the step nor by its rollback.
    assert [path for path in machine.writes if str(DEVICE) in path] == [p for p in writes if str(DEVICE) in p]


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_device_exchanged_while_the_journal_waits_for_the_disk_is_not_written_to(
    machine: Played, monkeypatch: pytest.MonkeyPatch, number: int, noticed: bool
) -> None:
    """Once the write with this number is announced."""
    announce = Journal.announce
    announced: list[str] = []
    before: list[str] = []

    def slow(journal: Journal, write: Write) -> int:
        found = announce(journal, write)
        if str(DEVICE) in write.target or str(DEVICE).encode() in write.value:
            announced.append(write.target)
            if len(announced) == number:
                machine.exchange(DEVICE, noticed=noticed)
                before.extend(machine.writes)
        return found

    host, made = planned(machine)
    monkeypatch.setattr(Journal, "announce", slow)
    with pytest.raises(StepError, match="is not the device that"):
        execute(machine, host, made)
    assert len(announced) >= number
    assert machine.writes == before, "neither the write that was announced, nor any of the rollback"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_device_exchanged_while_a_release_that_died_is_completed_is_not_written_to(
    machine: Played, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    host, made = planned(machine)
    execute(machine, host, made)

    class Died(BaseException):
        pass

    def die(path: str) -> None:
        if path.startswith("sys/"):
            raise Died

    machine.before_write = die
    with dead_process(), pytest.raises(Died):
        release(machine, read_host(machine), clusters(host), spec=SPEC)
    announce = Journal.announce
    announced: list[str] = []

    def slow(journal: Journal, write: Write) -> int:
        found = announce(journal, write)
        announced.append(write.target)
        if len(announced) == number:
            machine.exchange(DEVICE)
            machine.writes.clear()
        return found

    machine.before_write = None
    monkeypatch.setattr(Journal, "announce", slow)
    (found,) = recover(machine).runs
    assert len(announced) >= number
    assert found.fate is Fate.LEFT
    assert any(f"{DEVICE} is not the device that" in left for left in found.left)
    assert machine.writes == []


@pytest.mark.parametrize("exchanged", [False, True])
def test_what_was_changed_for_a_moment_is_not_put_back_on_another_device(machine: Played, exchanged: bool) -> None:
    _, made = planned(machine)
    method = machine.device(DEVICE) / "reset_method"
    method.write_text("flr bus\n")
    with dead_process():
        journal = Journal(machine)
        journal.begin("apply", plan=json.dumps(to_document(made)))
        recorded = Recorded(machine, journal, lambda tree, address: None)
        recorded.write(f"sys/bus/pci/devices/{DEVICE}/reset_method", b"bus")
        journal.close()
    if exchanged:
        machine.exchange(DEVICE)
        (machine.device(DEVICE) / "uevent").write_text("PCI_CLASS=120000\nPCI_ID=10EE:1234\n")
    found = recover(machine)
    assert [run.fate for run in found.runs] == [Fate.ROLLED_BACK]
    assert method.read_text() == ("bus" if exchanged else "flr bus")
    assert bool(found.restored) is not exchanged


def test_a_device_that_vanishes_between_steps_is_told(machine: Played) -> None:
    host, made = planned(machine)

    def progress(number: int, count: int, step: Any) -> None:
        if step.kind is StepKind.BIND:
            machine.pull(DEVICE)

    with pytest.raises(StepError, match=f"{DEVICE} is not there"):
        execute(machine, host, made, progress=progress)


def test_a_driver_changed_in_between_is_not_taken_off(machine: Played) -> None:
    host, made = planned(machine)
    machine.give(DEVICE, "pci-stub")
    before = state(machine)
    with pytest.raises(RefusedError, match="is bound to pci-stub, not to"):
        execute(machine, host, made)
    assert state(machine) == before


def test_a_failed_write_is_rolled_back(machine: Played) -> None:
    host, made = planned(machine)
    driver = machine.driver(DEVICE)

    def fail(path: str) -> None:
        if path.endswith("vfio-pci/bind"):
            raise OSError(16, "Device or resource busy", path)

    machine.before_write = fail
    with pytest.raises(StepError, match="busy") as caught:
        execute(machine, host, made)
    assert caught.value.exit_code == 5
    assert machine.driver(DEVICE) == driver


@pytest.mark.parametrize("number", [0, 1, 2, 4, 5])
def test_a_device_pulled_while_all_is_given_back_keeps_no_other_from_its_driver(machine: Played, number: int) -> None:
    """Before the release's write with this number."""
    other = Address.parse("0000:04:00.0")
    spec = f'[cluster.red]\ndevices = ["{DEVICE}", "{other}"]\nhandover = "vfio"\n'
    driver = machine.driver(other)
    host = read_host(machine)
    named = read_spec(spec, host, name="spec")
    execute(machine, host, plan(Topology(host), present(host), named, spec=spec))
    begun = len(machine.writes)

    def pull(path: str) -> None:
        if path.startswith("sys/") and len(machine.writes) - begun == number and machine.device(DEVICE).exists():
            machine.pull(DEVICE)

    machine.before_write = pull
    outcome = release(machine, read_host(machine), named)
    assert not machine.device(DEVICE).exists(), "there is a write with this number"
    assert machine.driver(other) == driver
    assert any(f"{DEVICE} has vanished meanwhile" in left for left in outcome.left)
    assert not any((deed.kind, deed.device) == ("bind", DEVICE) for deed in outcome.deeds)
    # Should it come back, the journal knows what it was.
    assert {entry.step.device for entry in read_journal(machine).entries} == {DEVICE}
