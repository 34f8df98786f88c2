"""Small parts: access through ``resource0``, waiting for completions, locks."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from act_bench import RED, Watched, host_of

from atoll.act.failure import Failure
from atoll.act.lock import file_lock, machine_lock
from atoll.act.pace import Pace
from atoll.act.site import Site
from atoll.act.steps.access import access
from atoll.act.steps.quiesce import PENDING_SECONDS, Quiesce
from atoll.errors import RefusedError
from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.plan.step import Step, StepKind
from atoll.twin import Twin


@dataclass
class Time:
    """A clock that runs only while somebody waits; ``then`` happens at a moment of it."""

    now: float = 0.0
    events: dict[float, object] = field(default_factory=dict)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for moment in [m for m in self.events if m <= self.now]:
            event = self.events.pop(moment)
            assert callable(event)
            event()

    @property
    def pace(self) -> Pace:
        return Pace(lambda: self.now, self.wait)


def driverless() -> Twin:
    twin = Twin.new("ac922-4gpu")
    twin.write(f"sys/bus/pci/devices/{RED}/driver/unbind", str(RED).encode())
    return twin


def test_resource0_gets_decoding_and_power_for_as_long_as_it_takes() -> None:
    twin = driverless()
    function = twin.kernel.hardware.functions[RED]
    function.set_command(off=Command.MEMORY)
    function.set_power(3)
    with pytest.raises(OSError, match="Invalid argument"):
        twin.lease_resource(RED)
    with access(twin, RED, None) as lease:
        assert lease.read32(0, 0) >> 20 == 0x140
        assert function.power == 0
    assert Command.MEMORY not in function.command
    with pytest.raises(OSError, match="Bad file descriptor"):
        lease.read32(0, 0)


def test_what_waking_up_resets_is_not_woken() -> None:
    """Its BARs would be lost, and decoding switched on at whatever address they read."""
    twin = driverless()
    function = twin.kernel.hardware.functions[RED]
    function.set_command(off=Command.MEMORY)
    function.put(function.layout.pm + 4, 2, 0x0003)
    machine = Watched(twin)
    with pytest.raises(Failure, match="waking up resets it"), access(machine, RED, None):
        pytest.fail("access was given")
    assert (function.power, [change for change in machine.changes if "config" in change]) == (3, [])


def test_decoding_is_put_back_when_something_fails_inside() -> None:
    twin = driverless()
    function = twin.kernel.hardware.functions[RED]
    function.set_command(off=Command.MEMORY)
    with pytest.raises(ZeroDivisionError), access(twin, RED, None):
        raise ZeroDivisionError
    assert Command.MEMORY not in function.command


def test_what_failed_first_is_told_where_putting_back_fails_too() -> None:
    twin = driverless()
    twin.kernel.hardware.functions[RED].set_command(off=Command.MEMORY)
    machine = Watched(twin)

    def fail() -> None:
        with access(machine, RED, None):
            machine.armed = True
            raise Failure("the register reads nonsense")

    with pytest.raises(Failure, match=r"^the register reads nonsense; and what .* not put back: .*injected"):
        fail()


def test_a_device_that_a_driver_has_is_not_touched() -> None:
    twin = Twin.new("ac922-4gpu")
    with pytest.raises(Failure, match=r"resource0 of 0004:04:00\.0"), access(twin, RED, None):
        pytest.fail("access was given")


# -- waiting for completions

STEP = Step("s1", StepKind.QUIESCE, RED, "", "", "", "")


def pending(twin: Twin, address: Address, on: bool) -> None:
    function = twin.kernel.hardware.functions[address]
    at = function.layout.express + 0xA
    function.put(at, 2, function.get(at, 2) & ~0x20 | (0x20 if on else 0))


def test_quiescing_waits_for_completions() -> None:
    twin, time = driverless(), Time()
    pending(twin, RED, True)
    time.events[1.0] = lambda: pending(twin, RED, False)
    Quiesce().do(Site(twin, host_of(twin), pace=time.pace), STEP, {})
    assert 1.0 <= time.now < 1.1


def test_quiescing_does_not_wait_for_ever() -> None:
    twin, time = driverless(), Time()
    pending(twin, RED, True)
    with pytest.raises(Failure, match="still waits for completions"):
        Quiesce().do(Site(twin, host_of(twin), pace=time.pace), STEP, {})
    assert PENDING_SECONDS <= time.now < PENDING_SECONDS + 1


def test_quiescing_switches_bus_mastering_off() -> None:
    twin = driverless()
    function = twin.kernel.hardware.functions[RED]
    function.set_command(on=Command.MASTER | Command.MEMORY)
    site = Site(twin, host_of(twin))
    quiesce = Quiesce()
    before = quiesce.before(site, STEP)
    quiesce.do(site, STEP, before)
    quiesce.after(site, STEP, before)
    assert Command.MASTER not in function.command
    assert Command.MEMORY in function.command


# -- locks


def fail_inside(twin: Twin) -> None:
    with machine_lock(twin):
        assert str(os.getpid()) in twin.read("run/atoll/lock").decode()
        with pytest.raises(RefusedError), machine_lock(twin):
            pass
        raise ZeroDivisionError


def test_the_machines_lock_is_given_back_whatever_happens() -> None:
    twin = Twin.new("ac922-4gpu")
    with pytest.raises(ZeroDivisionError):
        fail_inside(twin)
    with machine_lock(twin):
        pass


def test_a_twins_file_has_one_user(tmp_path: Path) -> None:
    path, time = tmp_path / "twin", Time()
    Twin.new("ac922-4gpu").save(path)
    with file_lock(path):
        with pytest.raises(RefusedError, match="another atoll"), file_lock(path, seconds=5.0, pace=time.pace):
            pass
        assert 5.0 <= time.now < 5.1
    with file_lock(path, seconds=0.0):
        pass


def test_a_lock_on_a_file_that_was_replaced_is_taken_anew(tmp_path: Path) -> None:
    path, time = tmp_path / "twin", Time()
    path.write_text("old")
    holder = os.open(path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)

    def replaced() -> None:
        new = tmp_path / "new"
        new.write_text("new")
        os.replace(new, path)
        os.close(holder)

    time.events[1.0] = replaced
    with file_lock(path, pace=time.pace):
        other = os.open(path, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(other)


def test_a_file_that_is_not_there_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), file_lock(tmp_path / "none"):
        pass
