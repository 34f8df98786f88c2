"""What an event leaves of the settings: link cuts that the reset undoes, ACS that becomes the kernel's policy."""

from __future__ import annotations

from dataclasses import replace

from atoll.controls.acs import policy
from atoll.controls.kernel_mask import kernel_cuts
from atoll.controls.registry import link_control
from atoll.events.event import Event, EventKind
from atoll.events.reset import ResetKind
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.model import Host
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address

__all__ = ["after", "reset_functions"]

_OF_BRIDGES = (EventKind.SUBORDINATE_RESET, EventKind.ERROR_RECOVERY)


def after(topology: Topology, settings: Settings, event: Event) -> Settings:
    """Return the settings that an event leaves.

    Command registers and address spaces stay: the kernel restores the former, and no event takes a device
    from its owner. ACS of ports is not saved: a port that was reset comes back with the kernel's policy, one that
    was only found again or bound again has the policy added.
    """
    host = topology.host
    if event.resets is not None:
        bridge = event.at if event.kind in _OF_BRIDGES else None
        settings = reset_functions(topology, settings, event.scope, event.resets, bridge=bridge)
    readded = event.kind in (EventKind.PORT_REBIND, EventKind.REMOVE_RESCAN)
    if event.resets is None and not readded:
        return settings
    acs = dict(settings.acs)
    for address in event.scope:
        if address in acs:
            acs[address] = _policy_after(host, address, acs[address], added=readded)
    # No kernel up to 7.3 sets the bits of ACS Enhanced: what a reset leaves of them is not relied on.
    enhanced = {address: bits for address, bits in settings.enhanced.items() if address not in event.scope}
    return replace(settings, acs=acs, enhanced=enhanced)


def _policy_after(host: Host, address: Address, control: AcsFlag | None, *, added: bool) -> AcsFlag | None:
    kernel = policy(host, host.functions[address])
    if kernel is None or (added and control is None):
        return None
    return kernel | control if added and control is not None else kernel


def reset_functions(
    topology: Topology,
    settings: Settings,
    scope: tuple[Address, ...],
    kind: ResetKind,
    *,
    bridge: Address | None = None,
) -> Settings:
    """Return the settings with every link cut undone that a reset of this kind undoes.

    ``bridge``: the port whose secondary bus is reset; None where each function is reset by itself. A kernel that
    cuts by itself does so for what hangs right below that port only.
    """
    cut = dict(settings.cut)
    for address in scope:
        control = link_control(topology.functions[address])
        if control is None or address not in cut or kind not in control.undone_by:
            continue
        cut[address] = frozenset()
        if kind is ResetKind.BUS and bridge in (None, topology.functions[address].parent):
            cut[address] = kernel_cuts(topology, address)
    return replace(settings, cut=cut)
