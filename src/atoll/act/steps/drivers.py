"""Taking drivers off devices and giving them others.

Source of the recipe: Linux Documentation/ABI/testing/sysfs-bus-pci (``driver_override``) and
drivers/base/bus.c (``bind``, ``unbind``): override first, so that nothing else takes the device in between.
"""

from __future__ import annotations

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.site import Site, State
from atoll.host.attribute import names
from atoll.host.fact import Unknown
from atoll.pci.address import Address
from atoll.plan.possession import holds_for
from atoll.plan.step import Step

__all__ = ["Bind", "Unbind", "bind", "check_loaded", "check_not_open", "restore", "set_override", "unbind"]

_DRIVERS = "sys/bus/pci/drivers"
_MOST_ENABLED = 16
"""No driver forgets to disable its device as often as that."""


def set_override(machine: Machine, address: Address, driver: str | None) -> None:
    """Set or clear ``driver_override``, and read it back. Raises Failure where it reads otherwise."""
    if device.override(machine, address) != driver:
        device.write(machine, f"{device.folder(address)}/driver_override", f"{driver or ''}\n")
        found = device.override(machine, address)
        if found != driver:
            raise Failure(f"driver_override of {address} reads {found or 'nothing'}, not {driver or 'nothing'}")


def unbind(machine: Machine, address: Address) -> None:
    """Take the driver off, if there is one. Raises Failure where it stays."""
    driver = device.driver(machine, address)
    if driver is not None:
        device.write(machine, f"{_DRIVERS}/{driver}/unbind", str(address))
        left = device.driver(machine, address)
        if left is not None:
            raise Failure(f"{left} still has {address}")


def bind(machine: Machine, address: Address, driver: str) -> None:
    """Give the device to a driver, if it has not got it.

    Raises Failure where another has it, which is never pushed away, or where the driver does not take it.
    """
    now = device.driver(machine, address)
    if now == driver:
        return
    if now is not None:
        raise Failure(f"{address} is bound to {now}, not free for {driver}")
    check_loaded(machine, driver)
    device.write(machine, f"{_DRIVERS}/{driver}/bind", str(address))
    found = device.driver(machine, address)
    if found != driver:
        raise Failure(f"{address} is bound to {found or 'no driver'}, not to {driver}")


def disable(machine: Machine, address: Address) -> int:
    """Disable a function that nobody drives, and return how often it was enabled: by a driver that was taken off and
    left it so, or by hand. Raises Failure where it stays enabled.

    What a VFIO driver gets is not enabled, so that afterwards it is as long as somebody has it open.
    """
    times = 0
    while enabled := device.enabled(machine, address):
        if times == _MOST_ENABLED:
            raise Failure(f"{address} is still enabled ({enabled}) after {times} times that it was disabled")
        device.write(machine, f"{device.folder(address)}/enable", "0")
        times += 1
    return times


def _enable(machine: Machine, address: Address, times: int) -> None:
    """Have a function that nobody drives enabled as often as it was."""
    for _ in range(device.enabled(machine, address), times):
        device.write(machine, f"{device.folder(address)}/enable", "1")


def check_loaded(machine: Machine, driver: str) -> None:
    """Raise Failure where the kernel does not know a driver."""
    if isinstance(names(machine, f"{_DRIVERS}/{driver}"), Unknown):
        raise Failure(f"the driver {driver} is not loaded", hint=f"modprobe {driver}")


def check_not_open(machine: Machine, step: Step) -> None:
    """Raise Failure where another process than the cluster's own holder has the device's group open."""
    found = device.holders(machine, step.device)
    others = (holder for holder in found if not holds_for(holder, step.cluster or ""))
    other = next(others, None) if found else device.handed(machine, step.device)
    if other is not None:
        raise Failure(
            device.in_use(step.device, other),
            hint="shut its user down first: atoll takes no device from a running owner",
        )


class Unbind:
    """Set ``driver_override``, then take the driver off."""

    def before(self, site: Site, step: Step) -> State:
        """The driver is the one planned for, and nobody has the device open."""
        check_not_open(site.machine, step)
        driver = device.driver(site.machine, step.device)
        if driver not in (step.driver, None):
            raise Failure(f"{step.device} is bound to {driver}, not to {step.driver} as planned")
        return {"driver": driver, "override": device.override(site.machine, step.device)}

    def do(self, site: Site, step: Step, before: State) -> None:
        """Override, then unbind."""
        if step.override is not None:
            set_override(site.machine, step.device, step.override)
        unbind(site.machine, step.device)

    def after(self, site: Site, step: Step, before: State) -> State:
        """No driver has it."""
        driver = device.driver(site.machine, step.device)
        if driver is not None:
            raise Failure(f"{step.device} is bound to {driver} again")
        return {"driver": None, "override": device.override(site.machine, step.device)}

    def undo(self, site: Site, step: Step, before: State) -> str:
        """Override as before, then the driver of before."""
        return restore(site.machine, step.device, before)


class Bind:
    """Give a device its driver."""

    def before(self, site: Site, step: Step) -> State:
        """It has no driver, or the right one already."""
        driver = device.driver(site.machine, step.device)
        if driver not in (None, step.driver):
            raise Failure(f"{step.device} is bound to {driver}")
        enabled = 0 if driver is not None else device.enabled(site.machine, step.device)
        return {"driver": driver, "override": device.override(site.machine, step.device), "enabled": enabled}

    def do(self, site: Site, step: Step, before: State) -> None:
        """A VFIO driver takes only what is overridden to it; a host driver must not be kept away by an override."""
        assert step.driver is not None
        wanted = step.override or (step.driver if "vfio" in step.driver else None)
        if wanted is not None or before["override"] != step.driver:
            set_override(site.machine, step.device, wanted)
        if before["driver"] is None and "vfio" in step.driver:
            disable(site.machine, step.device)
        bind(site.machine, step.device, step.driver)

    def after(self, site: Site, step: Step, before: State) -> State:
        """The driver has it."""
        driver = device.driver(site.machine, step.device)
        if driver != step.driver:
            raise Failure(f"{step.device} is bound to {driver or 'no driver'}, not to {step.driver}")
        return {"driver": driver, "override": device.override(site.machine, step.device)}

    def undo(self, site: Site, step: Step, before: State) -> str:
        """Unbind again."""
        return restore(site.machine, step.device, before)


def restore(machine: Machine, address: Address, before: State) -> str:
    """Put driver and override back as they were."""
    if not device.present(machine, address):
        return f"{address} is not there: its driver cannot be put back"
    driver, override = before["driver"], before["override"]
    if device.driver(machine, address) != driver:
        unbind(machine, address)
    set_override(machine, address, override if isinstance(override, str) else None)
    if isinstance(driver, str):
        bind(machine, address, driver)
    elif isinstance(enabled := before.get("enabled"), int):
        _enable(machine, address, enabled)
    return ""
