"""The registers of a device that cut its links: identify the chip, read which links are cut, cut more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from atoll.act.failure import Failure
from atoll.act.machine import Lease, Machine
from atoll.act.steps.access import access
from atoll.controls.link_control import LinkControl, SetBits
from atoll.controls.registry import link_control, link_controls
from atoll.host.fact import Known, Unknown
from atoll.host.model import Host
from atoll.pci.address import Address
from atoll.plan.step import Step

__all__ = ["control_of", "cut", "cut_now", "identify", "read_cut"]


def control_of(host: Host, step: Step) -> LinkControl:
    """Return the control that a step names. Raises Failure where it is none for this device."""
    function = host.functions.get(step.device)
    for control in link_controls():
        if control.name == step.control:
            if function is None or not control.applies(function.vendor, function.device):
                raise Failure(f"{step.control} is not made for {step.device}")
            if step.mask is not None and step.mask != _mask(control, step.links):
                raise Failure(f"mask {step.mask:#x} does not name links {list(step.links)}")
            return control
    raise Failure(f"no control is called {step.control}")


def _mask(control: LinkControl, links: Iterable[int]) -> int:
    try:
        return control.mask(links)
    except ValueError as error:
        raise Failure(str(error)) from error


def identify(lease: Lease, control: LinkControl) -> None:
    """Raise Failure where the chip is not the one that the control is made for."""
    for expected in control.identify():
        found = lease.read32(expected.register.bar, expected.register.offset)
        if found & expected.mask != expected.value:
            where = f"BAR{expected.register.bar}+{expected.register.offset:#x}"
            raise Failure(f"{lease.address} reads {found:#010x} at {where}: not the chip that {control.name} is for")


def cut_now(lease: Lease, host: Host, control: LinkControl) -> frozenset[int]:
    """Return the links that the device says are cut. Raises Failure where it does not say."""
    registers = {
        (lease.address, register): Known(lease.read32(register.bar, register.offset), "read now")
        for register in control.registers
    }
    state = control.state(replace(host, registers=registers), lease.address)
    if isinstance(state, Unknown):
        raise Failure(f"{lease.address}: {state.reason}")
    return state.value


def read_cut(machine: Machine, host: Host, address: Address, holder: str | None) -> frozenset[int] | None:
    """Return the links that a device says are cut; None where there is no control for it."""
    control = link_control(host.functions[address])
    if control is None:
        return None
    with access(machine, address, holder) as lease:
        identify(lease, control)
        return cut_now(lease, host, control)


def cut(lease: Lease, host: Host, control: LinkControl, links: Iterable[int]) -> frozenset[int]:
    """Cut links and read back; return all that are cut then. Never opens a link.

    Raises Failure for a device that is not what the control is for, and where it reads back otherwise.
    """
    wanted = frozenset(links)
    identify(lease, control)
    before = cut_now(lease, host, control)
    for operation in control.program(wanted):
        register = operation.register
        if isinstance(operation, SetBits):
            value = lease.read32(register.bar, register.offset) | operation.bits
        else:
            value = operation.value
        lease.write32(register.bar, register.offset, value)
    for expected in control.check(wanted):
        found = lease.read32(expected.register.bar, expected.register.offset)
        if found & expected.mask != expected.value:
            where = f"BAR{expected.register.bar}+{expected.register.offset:#x}"
            raise Failure(f"{lease.address} reads back {found:#010x} at {where}, expected {expected.value:#010x} in it")
    after = cut_now(lease, host, control)
    if not before <= after:
        raise Failure(f"links {sorted(before - after)} of {lease.address} opened while others were cut")
    return after
