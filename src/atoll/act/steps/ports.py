"""Writing the ACS control word of a port or function, and keeping a port awake that would wake up without it.

Source: PCI Express Base Specification 7.7.11.3. Bits that have no name yet stay as they are. ``power/control``:
Documentation/ABI/testing/sysfs-devices-power (``on``: never suspended at run time, resumed at once).
"""

from __future__ import annotations

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.site import Site, State, Value
from atoll.act.steps.regroup import is_together
from atoll.controls.waking import opens_asleep
from atoll.errors import Unreadable
from atoll.host.attribute import text
from atoll.host.fact import value_of
from atoll.pci.acs import OPENING, Acs, AcsFlag, read_acs
from atoll.pci.address import Address
from atoll.plan.step import Step

__all__ = ["SetAcs", "check_closed", "keep_awake", "power_control", "read_control", "restore_power", "set_control"]

POWER_CONTROL = "power/control"
_MANAGED, _AWAKE = "auto", "on"
_NAMED = int(~AcsFlag(0))


def _acs(machine: Machine, address: Address) -> Acs:
    function = device.read_function(machine, address)
    try:
        acs = read_acs(device.config(machine, address), function.vendor, function.device)
    except Unreadable as error:
        raise Failure(f"ACS of {address}: {error.message}") from error
    if acs is None:
        raise Failure(f"{address} has no ACS capability")
    return acs


def read_control(machine: Machine, address: Address) -> AcsFlag:
    """Return the control word as it is now."""
    return _acs(machine, address).control


def set_control(machine: Machine, address: Address, control: AcsFlag) -> None:
    """Set a port's ACS control and read it back. Raises Failure where it reads otherwise."""
    acs = _acs(machine, address)
    if acs.control == control:
        return
    try:
        word = device.config(machine, address).word(acs.control_offset)
    except Unreadable as error:
        raise Failure(f"ACS of {address}: {error.message}") from error
    device.write_word(machine, address, acs.control_offset, word & ~_NAMED | int(control))
    found = read_control(machine, address)
    if found != control:
        raise Failure(f"ACS of {address} reads back {found.lspci}, not {control.lspci}")


def check_closed(machine: Machine, address: Address, wanted: AcsFlag) -> None:
    """Raise Failure where a control word lets through what ``wanted`` does not.

    The kernel's own policy sets bits that close (``pci_std_enable_acs``); more of those is no harm.
    """
    found = read_control(machine, address)
    if wanted & ~found & ~AcsFlag.DT or found & ~wanted & OPENING:
        raise Failure(f"ACS of {address} was written anew by the kernel: {found.lspci}, set was {wanted.lspci}")


class SetAcs:
    """Set the control word."""

    def before(self, site: Site, step: Step) -> State:
        """The word is the one planned from, or the one wanted already."""
        found = read_control(site.machine, step.device)
        if step.acs_before is not None and found not in (step.acs_before, step.acs):
            raise Failure(f"ACS of {step.device} reads {found.lspci}, planned from {step.acs_before.lspci}")
        managed = power_control(site.machine, step.device) == _MANAGED
        kept = managed and step.acs is not None and _opens_asleep(site, step.device, step.acs)
        together = int(is_together(site.machine, step.device))
        return {"acs": int(found), "together": together, **({"power": _MANAGED} if kept else {})}

    def do(self, site: Site, step: Step, before: State) -> None:
        """Write it, to a port that stays awake from then on."""
        assert step.acs is not None
        keep_awake(site.machine, step.device, before.get("power"))
        set_control(site.machine, step.device, step.acs)

    def after(self, site: Site, step: Step, before: State) -> State:
        """It reads back."""
        found = read_control(site.machine, step.device)
        if found != step.acs:
            raise Failure(f"ACS of {step.device} reads {found.lspci}")
        if "power" not in before:
            return {"acs": int(found)}
        power = power_control(site.machine, step.device)
        if power != _AWAKE:
            raise Failure(f"{POWER_CONTROL} of {step.device} reads {power or 'nothing'}: asleep, it would lose its ACS")
        return {"acs": int(found), "power": power}

    def undo(self, site: Site, step: Step, before: State) -> str:
        """Write the word of before, and let it sleep again."""
        control = before["acs"]
        assert isinstance(control, int)
        set_control(site.machine, step.device, AcsFlag(control))
        restore_power(site.machine, step.device, before.get("power"))
        return ""


def power_control(machine: Machine, address: Address) -> str:
    """Return what ``power/control`` says, ``auto`` or ``on``; empty where a kernel without run-time power management
    says nothing."""
    return value_of(text(machine, f"{device.folder(address)}/{POWER_CONTROL}"), "")


def keep_awake(machine: Machine, address: Address, was: Value) -> None:
    """Have a port stay awake whose ``power/control`` was changed for that; once more where it was found again, which
    sets that anew (``pcie_portdrv_probe``). Raises Failure."""
    if was == _MANAGED and power_control(machine, address) == _MANAGED:
        device.write(machine, f"{device.folder(address)}/{POWER_CONTROL}", _AWAKE)


def restore_power(machine: Machine, address: Address, was: Value) -> None:
    """Have ``power/control`` as it was, where it was changed. Raises Failure."""
    if isinstance(was, str) and power_control(machine, address) != was:
        device.write(machine, f"{device.folder(address)}/{POWER_CONTROL}", was)


def _opens_asleep(site: Site, address: Address, control: AcsFlag) -> bool:
    function = site.host.functions.get(address)
    return function is not None and opens_asleep(site.host, function, control)
