"""Taking a function out of the kernel's view and letting it be found again, in a group of its own.

Source: drivers/pci/pci-sysfs.c ``remove`` and ``rescan``; drivers/iommu/iommu.c: a device is put into a group
when it is discovered, and never again.
"""

from __future__ import annotations

from atoll.act import device
from atoll.act.drivers import check_not_open, set_override, unbind
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.site import Site, State
from atoll.host.attribute import text
from atoll.host.fact import Known
from atoll.host.place import address_of
from atoll.pci.address import Address
from atoll.plan.step import Step

__all__ = ["Remove", "Rescan", "group_changed", "regroup", "remove", "rescan"]

_AUTOPROBE = "sys/bus/pci/drivers_autoprobe"


def remove(machine: Machine, address: Address) -> None:
    """Take a function out of the kernel's view."""
    device.write(machine, f"{device.folder(address)}/remove", "1")
    if device.present(machine, address):
        raise Failure(f"{address} is still there")


def rescan(machine: Machine, address: Address, parent: Address | None) -> None:
    """Let the kernel find a function again below the bridge ``parent``, None for one right below a host bridge.

    It has no driver afterwards; where the kernel lets itself be kept from binding one, it had none in between.
    """
    if not device.present(machine, address):
        probing = text(machine, _AUTOPROBE)
        held_back = isinstance(probing, Known) and probing.value == "1"
        if held_back:
            device.write(machine, _AUTOPROBE, "0")
        try:
            device.write(machine, _rescan_file(machine, address, parent), "1")
        finally:
            if held_back:
                device.write(machine, _AUTOPROBE, "1")
    if not device.present(machine, address):
        raise Failure(f"{address} was not found again")
    unbind(machine, address)


def _rescan_file(machine: Machine, address: Address, parent: Address | None) -> str:
    """The narrowest there is: the bus right below the bridge above, else everything."""
    if parent is not None:
        path = f"{device.folder(parent)}/pci_bus/{address.domain:04x}:{address.bus:02x}"
        try:
            if "rescan" in machine.list(path):
                return f"{path}/rescan"
        except OSError:
            pass
    return "sys/bus/pci/rescan"


def group_changed(site: Site, address: Address, before: State) -> str:
    """Say so where a function's group is not what it was before a removal, once all are found again."""
    found = [str(member) for member in device.group(site.machine, address)]
    return "" if found == before["group"] else f"the group of {address} is {', '.join(found) or 'none'} now"


def regroup(site: Site, address: Address) -> None:
    """Remove a function and find it again; it has no driver and no override afterwards."""
    unbind(site.machine, address)
    remove(site.machine, address)
    rescan(site.machine, address, site.host.functions[address].parent)


class Remove:
    """Take the function out of the kernel's view."""

    def before(self, site: Site, step: Step) -> State:
        """It has no driver, nobody has it open, nothing hangs below it."""
        check_not_open(site.machine, step)
        driver = device.driver(site.machine, step.device)
        if driver is not None:
            raise Failure(f"{step.device} is bound to {driver}")
        function = site.host.functions[step.device]
        if function.is_port or function.virtual_functions:
            raise Failure(f"{step.device} has functions below it that would go with it")
        return {
            "override": device.override(site.machine, step.device),
            "group": [str(member) for member in device.group(site.machine, step.device)],
            "parent": str(function.parent) if function.parent is not None else None,
        }

    def do(self, site: Site, step: Step, before: State) -> None:
        """Remove it."""
        remove(site.machine, step.device)

    def after(self, site: Site, step: Step, before: State) -> State:
        """It is gone from sysfs."""
        if device.present(site.machine, step.device):
            raise Failure(f"{step.device} is still there")
        return {}

    def undo(self, site: Site, step: Step, before: State) -> str:
        """Rescan; what is set on the ports by then decides about the group."""
        if not device.present(site.machine, step.device):
            rescan(site.machine, step.device, address_of(str(before.get("parent"))))
            override = before["override"]
            set_override(site.machine, step.device, override if isinstance(override, str) else None)
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
            unbind(site.machine, step.device)
            remove(site.machine, step.device)
        return ""


def _without_ports(site: Site, group: tuple[Address, ...]) -> set[Address]:
    functions = site.host.functions
    return {address for address in group if address not in functions or not functions[address].is_port}
