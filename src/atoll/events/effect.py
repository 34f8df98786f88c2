"""What an event leaves of the settings: link cuts that the reset undoes, ACS that becomes the kernel's policy."""

from __future__ import annotations

from dataclasses import replace

from atoll.controls.acs import policy
from atoll.controls.registry import link_control
from atoll.events.event import Event, EventKind
from atoll.events.reset import ResetKind
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.model import Host
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address

__all__ = ["after", "reset_functions"]


def after(topology: Topology, settings: Settings, event: Event) -> Settings:
    """Return the settings that an event leaves.

    Command registers and address spaces stay: the kernel restores the former, and no event takes a device
    from its owner. ACS of ports is not saved: a port that was reset comes back with the kernel's policy, one that
    was only found again or bound again has the policy added.
    """
    host = topology.host
    if event.resets is not None:
        settings = reset_functions(host, settings, event.scope, event.resets)
    reset_ports = event.kind is not EventKind.FUNCTION_RESET and event.resets is not None
    readded = event.kind in (EventKind.PORT_REBIND, EventKind.REMOVE_RESCAN)
    if not reset_ports and not readded:
        return settings
    acs = dict(settings.acs)
    for address in event.scope:
        if address in acs:
            acs[address] = _policy_after(host, address, acs[address], added=readded)
    return replace(settings, acs=acs)


def _policy_after(host: Host, address: Address, control: AcsFlag | None, *, added: bool) -> AcsFlag | None:
    kernel = policy(host, host.functions[address])
    if kernel is None or (added and control is None):
        return None
    return kernel | control if added and control is not None else kernel


def reset_functions(host: Host, settings: Settings, scope: tuple[Address, ...], kind: ResetKind) -> Settings:
    """Return the settings with every link cut undone that a reset of this kind undoes."""
    cut = dict(settings.cut)
    for address in scope:
        control = link_control(host.functions[address])
        if control is not None and address in cut and kind in control.undone_by:
            cut[address] = frozenset()
    return replace(settings, cut=cut)
