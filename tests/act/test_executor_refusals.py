"""Plans that are refused before their first write, or stopped where the machine is not what was planned for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from act_bench import BLUE, SPEC, Watched, host_of, planned, state

from atoll.act.executor import execute
from atoll.act.lock import machine_lock
from atoll.act.machine import Machine
from atoll.errors import RefusedError, StepError
from atoll.host.trees.live import LiveTree
from atoll.pci.acs import AcsFlag
from atoll.plan.step import Plan, StepKind
from atoll.twin import Twin


def refused(machine: Machine, made: Plan, match: str) -> RefusedError:
    with pytest.raises(RefusedError, match=match) as caught:
        execute(machine, host_of(machine), made)
    assert caught.value.exit_code == 4
    assert caught.value.hint
    return caught.value


def test_another_device_at_the_address_is_refused() -> None:
    twin = Twin.new("ac922-4gpu")
    _, made = planned(twin)
    machine = Watched(twin)
    other = tuple((a, text.replace("1db1", "1db5") if a == BLUE else text) for a, text in made.fingerprints)
    refused(machine, replace(made, fingerprints=other), "0004:05:00.0 is not the device that was planned for")
    less = tuple((a, text) for a, text in made.fingerprints if a != BLUE)
    refused(machine, replace(made, fingerprints=less), "does not say what 0004:05:00.0 is known by")
    assert machine.changes == []


def test_a_device_exchanged_between_two_steps_stops_the_plan() -> None:
    class Moved(Watched):
        """After the first step, another device answers at an address."""

        def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
            found = super().read(path, offset=offset, size=size)
            if any("unbind" in change for change in self.changes):
                if path.endswith("0004:05:00.0/device"):
                    return b"0x1db5\n"
                if path.endswith("0004:05:00.0/uevent"):
                    return found.replace(b"10DE:1DB1", b"10DE:1DB5")
            return found

    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    with pytest.raises(StepError, match=r"0004:05:00.0 is not the device that .*Rolled back: s2, s1"):
        execute(Moved(twin), host, made)


def test_what_the_host_needs_is_refused() -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    needed = replace(host, essential={BLUE: "console"})
    with pytest.raises(RefusedError, match="needed by the host itself: console"):
        execute(twin, needed, replace(made, spec=""))
    with pytest.raises(RefusedError, match="needed by the host itself: console"):
        execute(twin, needed, made)
    permitted = f'{SPEC}\n[policy]\nessential = ["{BLUE}"]\n'
    assert execute(twin, needed, replace(made, spec=permitted)).deeds


def test_an_assumed_control_is_refused() -> None:
    twin = Twin.new("ac922-4gpu")
    _, made = planned(twin)
    steps = tuple(replace(step, control="nvlink-mask-p100") if step.control else step for step in made.steps)
    refused(twin, replace(made, steps=steps), "nvlink-mask-p100 is only assumed to work")


def test_a_mask_that_is_not_the_links_is_not_written() -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    host, made = planned(twin)
    steps = tuple(replace(step, mask=0x3F0000) if step.mask else step for step in made.steps)
    with pytest.raises(StepError, match="mask 0x3f0000 does not name links"):
        execute(twin, host, replace(made, steps=steps))
    assert state(twin) == before


def test_a_machine_that_cannot_do_it_says_why() -> None:
    class Live(LiveTree):
        capabilities = frozenset({"attributes", "config", "hold"})

        def lacking(self, capability: str) -> tuple[str, str]:
            return f"no {capability} here", f"load {capability}"

    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    with pytest.raises(RefusedError) as caught:
        execute(Live(), host, made)  # type: ignore[arg-type]
    assert caught.value.message == "live cannot be changed in this way: no vfio here"
    assert caught.value.hint == "load vfio"


def test_a_plan_that_is_impossible_is_not_begun() -> None:
    twin = Twin.new("ac922-4gpu", kernel="5.4")
    _, made = planned(twin)
    assert made.impossible
    refused(Watched(twin), made, "impossible")


def test_two_at_once_are_refused() -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    with machine_lock(twin), pytest.raises(RefusedError, match="another atoll"):
        execute(twin, host, made)


def test_a_device_in_use_is_not_taken() -> None:
    twin = Twin.new("ac922-4gpu")
    _, made = planned(twin)
    twin.write(f"sys/bus/pci/devices/{BLUE}/driver_override", b"vfio-pci\n")
    twin.write(f"sys/bus/pci/devices/{BLUE}/driver/unbind", str(BLUE).encode())
    twin.write("sys/bus/pci/drivers_probe", str(BLUE).encode())
    twin.event("vm-start", [BLUE])
    refused(Watched(twin), made, "is open in process")


def test_a_port_that_changed_since_is_not_overwritten() -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    stale = tuple(
        replace(step, acs_before=AcsFlag.DT) if step.kind is StepKind.SET_ACS else step for step in made.steps
    )
    with pytest.raises(StepError, match=r"ACS of .* planned from"):
        execute(twin, host, replace(made, steps=stale))
