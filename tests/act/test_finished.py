"""Recovering after a death that came when all was done, and beside owners who run on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from act_bench import BLUE, RED, SPEC, apply, host_of, planned, state
from deaths import dead_process, deaths

from atoll.act.executor import execute
from atoll.act.finished import differences, finished
from atoll.act.journal import Journal, read_journal
from atoll.act.recover import Fate, recover
from atoll.act.release import release
from atoll.act.steps.resets import reset
from atoll.plan.spec import read_spec
from atoll.twin import Twin, v100

STOCK = SPEC.replace("held", "vfio")


def ended_badly(twin: Twin) -> None:
    """Apply; only that it has ended is not noted."""
    with dead_process():
        apply(twin, STOCK)
        journal = Journal(twin)
        journal._change("UPDATE run SET ended = NULL", ())
        journal._commit()
        journal.close()


def test_an_apply_that_had_done_all_is_complete() -> None:
    twin = Twin.new("ac922-4gpu")
    initial = state(twin)
    ended_badly(twin)
    applied = state(twin)
    (told,) = recover(twin, dry_run=True).runs
    assert told.fate is Fate.COMPLETED
    (found,) = recover(twin).runs
    assert found.fate is Fate.COMPLETED
    assert found.left == ()
    assert state(twin) == applied
    assert recover(twin).runs == ()
    host = host_of(twin)
    release(twin, host, read_spec(STOCK, host, name="spec"), spec=STOCK)
    assert state(twin) == initial


@pytest.mark.parametrize("change", ["links", "driver"])
def test_what_is_not_as_it_was_left_is_rolled_back(change: str) -> None:
    twin = Twin.new("ac922-4gpu")
    initial = state(twin)
    ended_badly(twin)
    if change == "links":
        reset(twin, RED, "bus")
    else:
        twin.write("sys/bus/pci/drivers/vfio-pci/unbind", str(BLUE).encode())
    (found,) = recover(twin).runs
    assert found.fate is Fate.ROLLED_BACK
    assert state(twin) == initial


def test_one_step_that_was_not_read_back_is_not_all() -> None:
    twin = Twin.new("ac922-4gpu")
    ended_badly(twin)
    record = read_journal(twin)
    (run,) = record.dead
    entries = record.of(run)
    assert finished(run, entries) is not None
    for number in range(len(entries)):
        assert finished(run, entries[:number] + entries[number + 1 :]) is None
    for verb in ("hold", "release", "recover"):
        assert finished(replace(run, verb=verb), entries) is None
    for plan in ("", "{", "[]", '{"schema": "atoll.plan/1"}'):
        assert finished(replace(run, plan=plan), entries) is None


def test_what_a_holder_had_open_is_closed_with_it() -> None:
    twin = Twin.new("ac922-4gpu")
    for death in deaths(twin, {}, lambda machine: execute(machine, *planned(machine)), wanted=lambda number: True)[-8:]:
        for run in read_journal(death.twin).dead:
            assert finished(run, read_journal(death.twin).of(run)) is None


def test_a_device_that_was_exchanged_is_a_difference() -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin, STOCK)
    execute(twin, host, made)
    assert list(differences(twin, host_of(twin), made)) == []
    other = tuple((address, "another") for address, _ in made.fingerprints)
    told = list(differences(twin, host_of(twin), replace(made, fingerprints=other)))
    assert any("is not the device that was planned for" in sentence for sentence in told)


def test_links_that_were_opened_beside_a_running_owner_are_cut_again() -> None:
    twin = Twin.new("ac922-4gpu")
    ended_badly(twin)
    reset(twin, BLUE, "bus")
    # Opening resets it; while it is open its registers cannot be mapped.
    twin.lease_vfio(RED, holder="qemu")
    registers = {address: twin.kernel.hardware.functions[address].registers for address in (RED, BLUE)}
    assert not v100.cut_links(registers[RED])
    assert not v100.cut_links(registers[BLUE])
    for deeds in ([(BLUE, "cut-links")], []):
        (found,) = recover(twin).runs
        assert found.fate is Fate.LEFT
        assert any(f"{RED} is open in process" in sentence for sentence in found.left)
        assert any(f"links of {RED} may be open, and could not be cut again" in sentence for sentence in found.left)
        assert [(deed.device, deed.kind) for deed in found.deeds] == deeds
        assert v100.cut_links(registers[BLUE])
        assert RED in twin.kernel.open_devices
