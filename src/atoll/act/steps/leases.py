"""Opening a device for a cluster's holder, which keeps it open.

Opening and closing each reset the device (drivers/vfio/pci/vfio_pci_core.c ``vfio_pci_core_enable`` and
``vfio_pci_core_disable``), so cuts come after the one and are gone after the other.
"""

from __future__ import annotations

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.site import Site, State
from atoll.act.steps.drivers import check_not_open
from atoll.act.steps.resets import cut_state, holding, restore_cut
from atoll.fabric.domains import holder_of
from atoll.pci.address import Address
from atoll.plan.possession import holds_for
from atoll.plan.step import Step

__all__ = ["Lease", "close"]


def close(machine: Machine, address: Address, holder: str) -> None:
    """Close a holder's lease, with the reset that this is. Raises Failure."""
    try:
        machine.lease_vfio(address, holder=holder).close()
    except OSError as error:
        raise Failure(f"closing {address} for {holder}: {error.strerror or error}") from error


class Lease:
    """Open a device for a holder and keep it open."""

    def before(self, site: Site, step: Step) -> State:
        """vfio-pci has it and nobody else has its group open."""
        check_not_open(site.machine, step)
        driver = device.driver(site.machine, step.device)
        if driver is None or "vfio" not in driver:
            raise Failure(f"{step.device} is bound to {driver or 'no driver'}, not to a VFIO driver")
        # As it was when the work began: since then, another device of its group may have been opened.
        held = holds_for(holder_of(site.host, site.host.functions[step.device]), step.cluster or "")
        return {"held": int(held), "cut": cut_state(site, step.device, step.holder if held else None)}

    def do(self, site: Site, step: Step, before: State) -> None:
        """Open it."""
        assert step.holder is not None
        try:
            site.machine.lease_vfio(step.device, holder=step.holder)
        except OSError as error:
            raise Failure(f"opening {step.device} for {step.holder}: {error.strerror or error}") from error

    def after(self, site: Site, step: Step, before: State) -> State:
        """The holder's process shows it."""
        if not device.is_open(site.machine, step.device, step.cluster or ""):
            raise Failure(f"{step.holder} does not show {step.device} as open")
        return {"held": 1, "cut": cut_state(site, step.device, step.holder)}

    def undo(self, site: Site, step: Step, before: State) -> str:
        """Close it, and bring the cuts back to what they were before it was opened."""
        assert step.holder is not None
        if not before["held"] and device.is_open(site.machine, step.device, step.cluster or ""):
            close(site.machine, step.device, step.holder)
        return restore_cut(site, step.device, before["cut"], holding(site, step))
