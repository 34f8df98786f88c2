"""Plans carried out on twins, refused, and failing at each of their steps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from act_bench import BLUE, RED, SPEC, Watched, planned, state

from atoll.act.entries import EntryState
from atoll.act.executor import Progress, execute
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.errors import StepError
from atoll.host.model import Host
from atoll.pci.address import Address
from atoll.plan.document import from_document, to_document
from atoll.plan.step import Plan, Step, StepKind
from atoll.twin import Twin

VFIO = SPEC.replace("held", "vfio")


def cut(twin: Twin, address: Address) -> int:
    return twin.peek(address, "bar0", 0xA00148)


def test_a_plan_is_carried_out_and_nothing_is_left_to_plan() -> None:
    twin = Twin.new("ac922-4gpu")
    assert twin.attack(RED, BLUE).reached
    host, made = planned(twin)
    seen: list[Step] = []
    outcome = execute(twin, host, made, progress=lambda number, count, step: seen.append(step))
    assert [deed.id for deed in outcome.deeds] == [step.id for step in made.steps] == [step.id for step in seen]
    assert (cut(twin, RED), cut(twin, BLUE)) == (0x150000, 0x150000)
    assert not twin.attack(RED, BLUE).reached
    assert not twin.attack(BLUE, RED).reached
    assert planned(twin)[1].steps == ()
    assert twin.read("run/atoll/lock") == b""


def test_a_plan_goes_through_its_document() -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin, VFIO)
    execute(twin, host, from_document(to_document(made)))
    assert (cut(twin, RED), cut(twin, BLUE)) == (0x150000, 0x150000)
    assert not twin.attack(RED, BLUE).reached


def test_the_journal_holds_what_was_before_and_what_reads_back(tmp_path: Path) -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    execute(twin, host, made)
    twin.save(tmp_path / "twin")
    entries = read_journal(Twin.load(tmp_path / "twin")).entries
    changing = [step for step in made.steps if step.kind is not StepKind.VERIFY]
    assert [entry.step for entry in entries] == changing
    assert {entry.state for entry in entries} == {EntryState.DONE}
    first = next(entry for entry in entries if entry.step.kind is StepKind.UNBIND)
    assert first.before["driver"] == "nouveau"
    assert first.after["driver"] is None
    cuts = next(entry for entry in entries if entry.step.kind is StepKind.CUT_LINKS)
    assert (cuts.before["cut"], cuts.after["cut"]) == ([], [0, 2, 4])


def test_each_write_is_in_the_journal_before_it_is_made() -> None:
    class Announced(Watched):
        """Looks into the journal at each change."""

        def change(self, what: str, act: Callable[[], object]) -> None:
            last = read_journal(self.twin).writes[-1]
            assert not last.done
            assert last.reason
            targets.append(last.target)
            if last.entry is not None:
                assert last.entry in {entry.number for entry in read_journal(self.twin).entries}
            super().change(what, act)

    targets: list[str] = []
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    machine = Announced(twin)
    execute(machine, host, made)
    own = ("var/lib/atoll/", "run/atoll/")
    changes = [what for what in machine.changes if not what.startswith(own)]
    words = {"open": "{} open", "reset": "{} reset"}
    named = [words[what.split()[0]].format(what.split()[1]) if what.split()[0] in words else what for what in changes]
    assert named == targets
    assert len(targets) > 15
    assert read_journal(twin).writes == ()


def test_a_dry_run_writes_nothing() -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    host, made = planned(twin)
    machine = Watched(twin)
    outcome = execute(machine, host, made, dry_run=True)
    assert machine.changes == []
    assert outcome.dry_run
    assert len(outcome.deeds) == len(made.steps) > 0
    assert state(twin) == before
    assert twin.own_files == {}
    execute(machine, host, made)
    assert machine.changes


# -- failures


@functools.cache
def count(spec: str) -> int:
    return len(planned(Twin.new("ac922-4gpu"), spec)[1].steps)


def outcome(machine: Machine, host: Host, made: Plan, progress: Progress) -> StepError | None:
    try:
        execute(machine, host, made, progress=progress)
    except StepError as error:
        return error
    return None


@pytest.mark.parametrize("late", [False, True], ids=["refused", "done-but-reported"])
@pytest.mark.parametrize("spec", [SPEC, VFIO], ids=["held", "vfio"])
@pytest.mark.parametrize("share", range(3))
def test_whatever_step_fails_all_is_as_before(spec: str, late: bool, share: int) -> None:
    failed = 0
    for number in range(1 + share, count(spec) + 1, 3):
        twin = Twin.new("ac922-4gpu")
        before = state(twin)
        host, made = planned(twin, spec)
        machine = Watched(twin, fail_late=late)

        def arm(at: int, steps: int, step: Step, number: int = number, machine: Watched = machine) -> None:
            machine.armed = at == number and step.kind is not StepKind.VERIFY

        error = outcome(machine, host, made, arm)
        if error is None:
            # The step had nothing to write.
            continue
        failed += 1
        step = made.steps[number - 1]
        assert f"step {step.id} ({step.kind}" in error.message
        assert "Not undone" not in error.message
        assert error.exit_code == 5
        assert state(twin) == before, f"after {step.id} {step.kind}"
        assert read_journal(twin).entries == ()
        assert twin.read("run/atoll/lock") == b""
    assert failed > 1


def test_a_store_that_does_not_take_is_found_and_rolled_back() -> None:
    class Deaf(Watched):
        """Its devices lose every store to their BARs."""

        def change(self, what: str, act: Callable[[], object]) -> None:
            if "BAR" not in what:
                super().change(what, act)

    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    host, made = planned(twin)
    with pytest.raises(StepError, match="reads back"):
        execute(Deaf(twin), host, made)
    assert state(twin) == before


def test_what_cannot_be_undone_is_said() -> None:
    class Stuck(Watched):
        """Once its links are cut, its drivers can't be changed any more."""

        def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
            if path.endswith("driver_override") and any("BAR" in change for change in self.changes):
                raise PermissionError(1, "Operation not permitted")
            super().write(path, data, offset=offset)

    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    last = len(made.steps)
    machine = Stuck(twin)

    def arm(number: int, steps: int, step: Step) -> None:
        machine.armed = number == last

    with pytest.raises(StepError) as caught:
        execute(machine, host, made, progress=arm)
    assert "Not undone: " in caught.value.message
    assert "could not be undone" in caught.value.message
    # What stays is in the journal for release.
    assert "atoll release SPEC undoes the rest" in caught.value.hint
    assert {entry.step.kind for entry in read_journal(twin).entries} <= {StepKind.BIND, StepKind.UNBIND}
    assert read_journal(twin).entries


def test_an_interrupt_rolls_back_too() -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    host, made = planned(twin)

    def interrupt(number: int, steps: int, step: Step) -> None:
        if step.kind is StepKind.CUT_LINKS:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(twin, host, made, progress=interrupt)
    assert read_journal(twin).entries == ()
    assert state(twin) == before


# -- devices that run


def test_held_devices_are_cut_again_without_a_reset_and_without_a_gap() -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    execute(twin, host, made)
    twin.reset(RED, "bus")
    assert cut(twin, RED) == 0
    host, made = planned(twin)
    assert {step.kind for step in made.steps} == {StepKind.CUT_LINKS, StepKind.VERIFY}
    machine = Watched(twin)

    def attack(number: int, steps: int, step: Step) -> None:
        assert not twin.attack(RED, BLUE).reached
        assert not twin.attack(BLUE, RED).reached

    execute(machine, host, made, progress=attack)
    assert cut(twin, RED) == 0x150000
    assert not any(change.startswith(("reset", "open")) for change in machine.changes)


def test_a_failed_recut_never_resets_a_running_device() -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    execute(twin, host, made)
    twin.reset(RED, "bus")
    host, made = planned(twin)
    steps = (*made.steps, replace(made.steps[-1], id="bad", links=(5,), mask=None))
    machine = Watched(twin)
    with pytest.raises(StepError, match=r"links 0, 2, 4 of 0004:04:00\.0 stay cut"):
        execute(machine, host, replace(made, steps=steps))
    assert not any("reset" in change for change in machine.changes)
    assert cut(twin, RED) == 0x150000
    assert not twin.attack(RED, BLUE).reached


def test_a_new_tenant_opens_nothing_to_one_that_runs() -> None:
    twin = Twin.new("ac922-6gpu")
    one = '[cluster.red]\ndevices = ["gpu[0]"]\nhandover = "held"\n'
    host, made = planned(twin, one)
    execute(twin, host, made)
    two = one + '[cluster.blue]\ndevices = ["gpu[1]"]\nhandover = "held"\n'
    host, made = planned(twin, two)
    red, blue = (Address.parse(text) for text in ("0004:04:00.0", "0004:05:00.0"))
    assert red not in {step.device for step in made.steps if step.kind is StepKind.LEASE}

    def attack(number: int, steps: int, step: Step) -> None:
        # As long as it is the host's, blue may reach its tenant; never the other way.
        assert not twin.attack(red, blue).reached
        assert not owned or not twin.attack(blue, red).reached
        owned.extend([step] if step.kind is StepKind.LEASE else [])

    owned: list[Step] = []
    execute(twin, host, made, progress=attack)
    assert [step.device for step in owned] == [blue]
    assert not twin.attack(blue, red).reached


def test_what_was_read_back_last_is_told_unless_a_reset_followed() -> None:
    for spec, told in ((VFIO, {RED, BLUE}), (SPEC, {BLUE})):
        twin = Twin.new("ac922-4gpu")
        host, plan = planned(twin, spec)
        verified = {step.device: frozenset(step.links) for step in plan.steps if step.kind is StepKind.VERIFY}
        found = execute(twin, host, plan).cut
        # A holder opens one after the other, and each opening resets.
        assert found.keys() & {RED, BLUE} == told
        assert all(verified[address] <= links for address, links in found.items())
