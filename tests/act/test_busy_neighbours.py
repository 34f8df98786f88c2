"""A neighbour of clusters that is the host's own was given to somebody by hand: nobody takes it from him."""

from __future__ import annotations

from act_bench import BLUE, RED, SPEC, Watched, apply, planned, state, to_vfio
from deaths import Death, deaths
from release_bench import give_back

from atoll.act import device
from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.recover import Fate, recover
from atoll.plan.step import StepKind
from atoll.twin import Twin

SPEC_OF_RED = SPEC.split("[cluster.blue]")[0]


def test_what_somebody_has_open_stays_with_its_links_cut_at_both_ends() -> None:
    twin = Twin.new("ac922-4gpu")
    to_vfio(twin, BLUE)
    initial = state(twin)
    apply(twin, SPEC_OF_RED)
    cut = twin.peek(RED, "bar0", 0xA00148)
    twin.event("vm-start", [BLUE])
    left = give_back(twin, SPEC_OF_RED).left
    assert any(told.startswith(f"{BLUE} is open in process") for told in left)
    assert device.driver(twin, BLUE) == "vfio-pci"
    assert device.driver(twin, RED) == "nouveau"
    assert twin.peek(RED, "bar0", 0xA00148) == cut
    assert BLUE in twin.kernel.open_devices
    twin.event("vm-stop", [BLUE])
    assert give_back(twin, SPEC_OF_RED).left == ()
    assert state(twin) == initial
    assert read_journal(twin).entries == ()


def test_a_rollback_after_a_death_takes_nothing_from_him_either() -> None:
    """The neighbour had no driver when the run died, and was given away before it was recovered."""
    twin = Twin.new("ac922-4gpu")
    initial = state(twin)
    host, made = planned(twin, SPEC_OF_RED.replace("held", "vfio"))

    def is_cut(death: Death) -> bool:
        cut = {entry.step.device for entry in read_journal(death.twin).entries if entry.step.kind is StepKind.CUT_LINKS}
        return BLUE in cut and device.driver(death.twin, BLUE) is None

    died = [death for death in deaths(twin, {}, lambda machine: execute(machine, host, made)) if is_cut(death)]
    twin = died[-1].twin
    twin.write(f"sys/bus/pci/devices/{BLUE}/driver_override", b"vfio-pci\n")
    twin.write("sys/bus/pci/drivers_probe", str(BLUE).encode())
    twin.event("vm-start", [BLUE])
    machine = Watched(twin)
    (found,) = recover(machine).runs
    assert found.fate is Fate.LEFT
    assert any(told.startswith(f"{BLUE} is open in process") for told in found.left)
    assert not [change for change in machine.changes if change.endswith(("/unbind", "/reset", "/config"))]
    twin.event("vm-stop", [BLUE])
    (found,) = recover(machine).runs
    assert found.fate is Fate.ROLLED_BACK
    assert state(twin) == initial
