"""Resetting devices, and putting link cuts back that a reset has undone or must undo.

Source: drivers/pci/pci-sysfs.c ``reset`` and ``reset_method`` (since 5.15; before, the kernel's own order holds).
"""

from __future__ import annotations

import errno
from contextlib import nullcontext

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.site import Site, State, Value
from atoll.act.steps.access import access
from atoll.act.steps.drivers import check_not_open
from atoll.act.steps.put_back import put_back
from atoll.act.steps.quiesce import command_word
from atoll.act.steps.registers import cut, cut_now, identify, read_cut
from atoll.controls.link_control import LinkControl
from atoll.controls.registry import link_control
from atoll.events.reset import kind_of_method
from atoll.host.attribute import text
from atoll.host.fact import Known, value_of
from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.plan.step import Step

__all__ = ["Reset", "cut_state", "holding", "reset", "restore_cut"]


def reset(machine: Machine, address: Address, method: str) -> None:
    """Reset one function by a method; the order of methods is as before afterwards.

    Raises Failure where it has no such method.
    """
    here = device.folder(address)
    if not device.has_file(machine, address, "reset"):
        raise Failure(f"{address} has no reset method")
    order = text(machine, f"{here}/reset_method")
    chosen = isinstance(order, Known) and order.value.split()[:1] != [method]
    if chosen:
        if method not in value_of(order, "").split():
            raise Failure(f"{address} has no reset method {method}, only {value_of(order, '') or 'none'}")
        device.write(machine, f"{here}/reset_method", method)
    before = value_of(order, "")
    with put_back(lambda: device.write(machine, f"{here}/reset_method", before)) if chosen else nullcontext():
        device.write(machine, f"{here}/reset", "1")


def cut_state(site: Site, address: Address, holder: str | None) -> Value:
    """Return the links that are cut now for the journal; None where no control tells."""
    found = read_cut(site.machine, site.host, address, holder)
    return None if found is None else sorted(found)


def holding(site: Site, step: Step) -> str | None:
    """Return through whose lease a step is undone: None where its holder, if it had one, does not run any more."""
    if step.holder is None or not device.is_open(site.machine, step.device, step.cluster or ""):
        return None
    return step.holder


def restore_cut(site: Site, address: Address, was: Value, holder: str | None) -> str:
    """Bring a device's cuts back to what they were; return what stays.

    A device that a holder has open is never reset: its owner runs, and links cut in excess open no path.
    Raises Failure where the device was not there before, and where it gives no access or does not do as told.
    """
    function = site.host.functions.get(address)
    if function is None:
        raise Failure(f"{address} was not there when the work began")
    control = link_control(function)
    if control is None or not isinstance(was, list):
        return ""
    wanted = frozenset(int(link) for link in was)
    now = read_cut(site.machine, site.host, address, holder) or frozenset()
    method, failed = None, ""
    if now - wanted and holder is None:
        method, failed = _reset_that_works(site.machine, address, control)
    with access(site.machine, address, holder) as lease:
        identify(lease, control)
        now = cut_now(lease, site.host, control)
        if wanted - now:
            now = cut(lease, site.host, control, wanted - now)
    if now - wanted:
        links = ", ".join(map(str, sorted(now - wanted)))
        if method is not None:
            return (
                f"links {links} of {address} stay cut: its reset ({method}) did not open them, or the kernel cut again"
            )
        if failed:
            return f"links {links} of {address} stay cut: the reset that would open them failed: {failed}"
        return f"links {links} of {address} stay cut until a reset of the device opens them"
    return ""


def _reset_that_works(machine: Machine, address: Address, control: LinkControl) -> tuple[str | None, str]:
    """Reset a function in a way that undoes its control; return by which method, None with the reason where none works.

    A listed method may have no effect but ENOTTY: ``bus``, of a function that has not been alone on its bus since the
    list was made (drivers/pci/pci.c ``pci_parent_bus_reset``).
    """
    failed = []
    for method in _methods(machine, address):
        if kind_of_method(method) not in control.undone_by:
            continue
        try:
            reset(machine, address, method)
        except Failure as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno != errno.ENOTTY:
                raise
            failed.append(f"{method}: {error.message}")
            continue
        return method, ""
    return None, "; ".join(failed)


def _methods(machine: Machine, address: Address) -> tuple[str, ...]:
    """Return the reset methods of a function; before 5.15 no file tells, and a bus reset is tried."""
    if not device.has_file(machine, address, "reset"):
        return ()
    order = text(machine, f"{device.folder(address)}/reset_method")
    return tuple(order.value.split()) if isinstance(order, Known) else ("bus",)


class Reset:
    """Reset a device by a method, or through its holder's lease."""

    def before(self, site: Site, step: Step) -> State:
        """It is quiet, or its own cluster's holder has it. A port's own reset may lose everything below it."""
        if device.read_function(site.machine, step.device).is_port:
            raise Failure(f"{step.device} is a port: resetting it can lose everything that is below it")
        check_not_open(site.machine, step)
        if step.holder is None:
            driver = device.driver(site.machine, step.device)
            if driver is not None and "vfio" not in driver:
                raise Failure(f"{step.device} is bound to {driver}: it is not reset under a running driver")
            if command_word(site.machine, step.device) & Command.MASTER:
                raise Failure(f"bus mastering of {step.device} is on")
        return {"cut": cut_state(site, step.device, step.holder)}

    def do(self, site: Site, step: Step, before: State) -> None:
        """Reset it."""
        if step.holder is None:
            reset(site.machine, step.device, step.method or "bus")
            return
        try:
            site.machine.lease_vfio(step.device, holder=step.holder).reset()
        except OSError as error:
            raise Failure(f"reset of {step.device} for {step.holder}: {error.strerror or error}") from error

    def after(self, site: Site, step: Step, before: State) -> State:
        """It answers, and says which links are cut now (a kernel that isolates by itself has cut again)."""
        device.read_function(site.machine, step.device)
        return {"cut": cut_state(site, step.device, step.holder)}

    def undo(self, site: Site, step: Step, before: State) -> str:
        """A reset cannot be undone, but the cuts that it undid are made again."""
        return restore_cut(site, step.device, before["cut"], holding(site, step))
