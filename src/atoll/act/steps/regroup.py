"""Taking a function out of the kernel's view and letting it be found again, in a group of its own.

Of a port all that is below it goes and comes with it; what decides about the groups is set at the node above, which
stays.

Source: drivers/pci/pci-sysfs.c ``remove`` and ``rescan``; drivers/iommu/iommu.c: a device is put into a group
when it is discovered, and never again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import nullcontext

from atoll.act import device
from atoll.act.entries import Entry
from atoll.act.failure import Absent, Failure
from atoll.act.machine import Machine
from atoll.act.site import Site, State
from atoll.act.steps.drivers import check_not_open, set_override, unbind
from atoll.act.steps.put_back import put_back
from atoll.host.attribute import names, text
from atoll.host.fact import Known
from atoll.host.place import address_of
from atoll.pci.address import Address
from atoll.plan.step import Step

__all__ = [
    "Remove",
    "Rescan",
    "below",
    "check_free",
    "find",
    "found_apart",
    "group_changed",
    "is_together",
    "regroup",
    "removed_with",
    "rescan",
]

_AUTOPROBE = "sys/bus/pci/drivers_autoprobe"
_PROBE = "sys/bus/pci/drivers_probe"


def _remove(machine: Machine, address: Address) -> None:
    """Take a function out of the kernel's view. Raises Failure where it stays."""
    device.write(machine, f"{device.folder(address)}/remove", "1")
    if device.present(machine, address):
        raise Failure(f"{address} is still there")


def rescan(machine: Machine, address: Address, parent: Address | None) -> None:
    """Let the kernel find a function again below the bridge ``parent``, None for one right below a host bridge.

    It has no driver afterwards; where the kernel lets itself be kept from binding one, it had none in between
    (``pci_bus_add_device`` of 6.1 to 7.3 binds all the same). A port has its driver: without it, nothing is told of
    errors or of hot-plug below. Raises Absent where it is not found.
    """
    if not device.present(machine, address):
        probing = text(machine, _AUTOPROBE)
        held_back = isinstance(probing, Known) and probing.value == "1"
        if held_back:
            device.write(machine, _AUTOPROBE, "0")
        with put_back(lambda: device.write(machine, _AUTOPROBE, "1")) if held_back else nullcontext():
            device.write(machine, _rescan_file(machine, address, parent), "1")
    if not device.present(machine, address):
        raise Absent(f"{address} was not found again")
    if not device.read_function(machine, address).is_port:
        unbind(machine, address)
    elif device.driver(machine, address) is None:
        device.write(machine, _PROBE, str(address))


def _rescan_file(machine: Machine, address: Address, parent: Address | None) -> str:
    """The narrowest there is: the bus itself, else everything.

    A bridge's own ``rescan`` is about the bus that the bridge is on.
    """
    bus = f"pci_bus/{address.domain:04x}:{address.bus:02x}"
    paths = [f"sys/class/{bus}", *([f"{device.folder(parent)}/{bus}"] if parent is not None else [])]
    for path in paths:
        try:
            if "rescan" in machine.list(path):
                return f"{path}/rescan"
        except OSError:
            pass
    return "sys/bus/pci/rescan"


def group_changed(site: Site, address: Address, before: State) -> str:
    """Say so where a function is no longer with those that it shared a group with just before its removal.

    Others, removed before it, may be back with it as well.
    """
    found = [str(member) for member in device.group(site.machine, address)]
    group = before["group"]
    return (
        ""
        if isinstance(group, list) and {*map(str, group)} <= {*found}
        else f"the group of {address} is {', '.join(found) or 'none'} now"
    )


def regroup(site: Site, address: Address) -> None:
    """Remove a function and find it again; it has no driver and no override afterwards.

    Of a port: what is below has no driver, and nobody has it open (Failure otherwise).
    """
    if site.host.functions[address].is_port:
        check_free(site, address)
    else:
        unbind(site.machine, address)
    _remove(site.machine, address)
    rescan(site.machine, address, site.host.functions[address].parent)


def find(site: Site, address: Address, before: State) -> None:
    """Find a function again if it is away, whatever group it gets, and give it the override that it had."""
    if not device.present(site.machine, address):
        rescan(site.machine, address, address_of(str(before.get("parent"))))
    override = before["override"]
    set_override(site.machine, address, override if isinstance(override, str) else None)


def check_free(site: Site, address: Address) -> None:
    """Raise Failure unless nothing of a function, or of all that is below it now, is in use or unknown to the plan.

    The kernel would wait with the removal until the last open descriptor is closed.
    """
    for found in (address, *below(site.machine, address)):
        function = device.read_function(site.machine, found)
        if function.is_port:
            continue
        if found not in site.fingerprints:
            raise Failure(f"{found} is below {address} and would go with it; it is not part of this")
        site.check_fingerprint(found)
        driver = device.driver(site.machine, found)
        if driver is not None:
            raise Failure(f"{found} is bound to {driver}")
        holder = device.other(site.machine, found)
        if holder is not None:
            raise Failure(f"{found} is open in process {holder.pid} ({holder.name}): removing it would wait for that")
        if function.virtual_functions:
            raise Failure(f"{found} has virtual functions that would go with it")


def _take_away(site: Site, address: Address) -> None:
    """Remove a function or port, with the drivers that the kernel gave to what is there. Failure where it is open."""
    for found in (address, *below(site.machine, address)):
        if not device.read_function(site.machine, found).is_port:
            holder = device.other(site.machine, found)
            if holder is not None:
                raise Failure(f"{found} is open in process {holder.pid} ({holder.name})")
            unbind(site.machine, found)
    _remove(site.machine, address)


def removed_with(entry: Entry) -> tuple[Address, ...]:
    """Return what a removal took away: the function, and all that was below it."""
    below = entry.before.get("below")
    named = map(address_of, map(str, below)) if isinstance(below, list) else ()
    return (entry.step.device, *(found for found in named if found is not None))


def below(machine: Machine, address: Address) -> list[Address]:
    """Return what hangs below a function now, parents first."""
    listed = names(machine, device.folder(address))
    children = [address_of(name) for name in (listed.value if isinstance(listed, Known) else ())]
    found: list[Address] = []
    for child in children:
        if child is not None:
            found += [child, *below(machine, child)]
    return found


def is_together(machine: Machine, port: Address) -> bool:
    """Whether all that is below a port shares its group: nothing there was found while it isolated."""
    group = device.group(machine, port)
    return bool(group) and set(below(machine, port)) <= {*group}


def found_apart(machine: Machine, ports: Iterable[Address], known: Collection[Address]) -> tuple[str, ...]:
    """Return sentences about what is not ``known`` and was found below ports while these isolated, which they do no
    more: it is nobody's here to be found again."""
    told: dict[Address, str] = {}
    for port in sorted(ports):
        group = device.group(machine, port)
        for address in below(machine, port):
            if address not in known and address not in group and device.group(machine, address):
                again = f"echo 1 > /{device.folder(address)}/remove, then > /sys/bus/pci/rescan"
                why = f"came while {port} was closed, and is in a group that nothing isolates now"
                told.setdefault(address, f"{address} {why}: {again}")
    return tuple(told.values())


def _without_ports(site: Site, group: tuple[Address, ...]) -> set[Address]:
    functions = site.host.functions
    return {address for address in group if address not in functions or not functions[address].is_port}


class Remove:
    """Take the function out of the kernel's view."""

    def before(self, site: Site, step: Step) -> State:
        """It has no driver and nobody has it open, nor anything below it, which the plan knows."""
        check_not_open(site.machine, step)
        function = site.host.functions[step.device]
        check_free(site, step.device)
        return {
            "override": device.override(site.machine, step.device),
            "group": [str(member) for member in device.group(site.machine, step.device)],
            "parent": str(function.parent) if function.parent is not None else None,
            "below": [str(found) for found in below(site.machine, step.device)],
        }

    def do(self, site: Site, step: Step, before: State) -> None:
        """Remove it."""
        _remove(site.machine, step.device)

    def after(self, site: Site, step: Step, before: State) -> State:
        """It is gone from sysfs."""
        if device.present(site.machine, step.device):
            raise Failure(f"{step.device} is still there")
        return {}

    def undo(self, site: Site, step: Step, before: State) -> str:
        """Rescan; what is set on the ports by then decides about the group.

        What was found before that, with another of its bus, has to go once more.
        """
        if device.present(site.machine, step.device) and group_changed(site, step.device, before):
            _take_away(site, step.device)
        if not device.present(site.machine, step.device):
            find(site, step.device, before)
        return ""


class Rescan:
    """Let the kernel find the function again, and check its new group."""

    def before(self, site: Site, step: Step) -> State:
        """Its parent is there. The function may be too, found with another of its bus."""
        parent = site.host.functions[step.device].parent
        if parent is not None and not device.present(site.machine, parent):
            raise Failure(f"the bridge {parent} above {step.device} is not there")
        return {"present": int(device.present(site.machine, step.device))}

    def do(self, site: Site, step: Step, before: State) -> None:
        """Rescan, and override before any driver is bound on purpose."""
        rescan(site.machine, step.device, site.host.functions[step.device].parent)
        if step.override is not None:
            set_override(site.machine, step.device, step.override)

    def after(self, site: Site, step: Step, before: State) -> State:
        """It is the same device, in the predicted group (as far as that has been found again)."""
        site.check_fingerprint(step.device)
        group = device.group(site.machine, step.device)
        found = _without_ports(site, group)
        expected = _without_ports(site, step.group)
        there = {address for address in expected if device.present(site.machine, address)}
        if found != there:
            listed = ", ".join(map(str, sorted(found))) or "none"
            raise Failure(f"the group of {step.device} is {listed}, not {', '.join(map(str, sorted(there)))}")
        return {"group": [str(member) for member in group]}

    def undo(self, site: Site, step: Step, before: State) -> str:
        """Remove it again: once the ports are as before it is found anew, in the group of before."""
        if device.present(site.machine, step.device):
            if not site.host.functions[step.device].is_port:
                unbind(site.machine, step.device)
            _remove(site.machine, step.device)
        return ""
