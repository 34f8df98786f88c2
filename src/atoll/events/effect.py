"""What an event leaves of the settings.

Link cuts that the reset undoes, ACS that becomes the kernel's policy, address spaces that the kernel gives anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from atoll.controls.acs import policy
from atoll.controls.kernel_mask import kernel_cuts
from atoll.controls.registry import link_control
from atoll.events.event import Event, EventKind
from atoll.events.reset import ResetKind
from atoll.fabric.settings import Domain, DomainKind, Settings
from atoll.fabric.switching import switched_on
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.host.model import Function, Host
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address

__all__ = ["FOUND_AGAIN", "after", "recovers", "reset_alone", "reset_functions"]

FOUND_AGAIN = (EventKind.REMOVE_RESCAN, EventKind.HOT_PLUG, EventKind.POWER_LOSS)
"""After these the kernel finds anew what was hit."""
_OF_BRIDGES = (EventKind.SUBORDINATE_RESET, EventKind.ERROR_RECOVERY)


def after(topology: Topology, settings: Settings, event: Event) -> Settings:
    """Return the settings that an event leaves.

    A reset leaves command registers and address spaces: the kernel restores the former, and it takes no device from
    its owner. What is found again is its owner's no more: a driver of the host gets it and switches it on, in the
    address space that the kernel gives it. ACS of ports is not saved: a port that was reset comes back with the
    kernel's policy, one that was only found again or bound again has the policy added. Nobody saves virtual functions
    whose physical one is reset (``pci_reset_function``), and what error recovery leaves is up to drivers.
    """
    host = topology.host
    if event.kind is EventKind.DRIVER_BIND:
        return switched_on(topology, settings, event.scope)
    if event.kind in FOUND_AGAIN:
        settings = _found_again(topology, settings, event.scope)
    if event.resets is not None:
        bridge = event.at if event.kind in _OF_BRIDGES else None
        settings = reset_functions(topology, settings, event.scope, event.resets, bridge=bridge)
    readded = event.kind in (EventKind.PORT_REBIND, EventKind.REMOVE_RESCAN)
    if event.resets is None and not readded:
        return settings
    acs = dict(settings.acs)
    for address in event.scope:
        if address in acs:
            if event.kind is EventKind.FUNCTION_RESET and address != event.at:
                acs[address] = AcsFlag(0)
            elif event.kind is EventKind.ERROR_RECOVERY and not recovers(host.functions[address]):
                acs[address] = None
            else:
                acs[address] = _policy_after(host, address, acs[address], added=readded)
    # No kernel up to 7.3 sets the bits of ACS Enhanced: what a reset leaves of them is not relied on.
    enhanced = {address: bits for address, bits in settings.enhanced.items() if address not in event.scope}
    return replace(settings, acs=acs, enhanced=enhanced)


def _found_again(topology: Topology, settings: Settings, scope: Sequence[Address]) -> Settings:
    anew = topology.found_anew
    domain = {**settings.domain, **{address: anew[address] for address in scope if address in anew}}
    links = dict(settings.cpu_links)
    for address in scope:
        if address in links and links[address].kind is DomainKind.TRANSLATED:
            links[address] = Domain(DomainKind.IDENTITY, "", "the NPU is in bypass for the host's driver")
    return switched_on(topology, replace(settings, domain=domain, cpu_links=links), scope)


def recovers(function: Function) -> bool:
    """Whether a function's driver surely restores it when its link was reset: that of ports does, vfio-pci does not.

    Source: ``pcie_portdrv_slot_reset``; ``vfio_pci_core_err_handlers`` has no ``slot_reset``.
    """
    return function.is_port and value_of(function.driver, "pcieport") == "pcieport"


def _policy_after(host: Host, address: Address, control: AcsFlag | None, *, added: bool) -> AcsFlag | None:
    kernel = policy(host, host.functions[address])
    if kernel is None or (added and control is None):
        return None
    return kernel | control if added and control is not None else kernel


def reset_alone(topology: Topology, settings: Settings, address: Address, kind: ResetKind) -> Settings:
    """Return the settings after one function was reset by itself, as VFIO does when it is opened: if it can be.

    Its links are open again, and of its own ACS is left what it was and what the kernel makes of it: a reset is not
    relied on to close anything.
    """
    settings = reset_functions(topology, settings, (address,), kind)
    before = settings.acs.get(address)
    if before is None:
        return settings
    kernel = policy(topology.host, topology.functions[address])
    left = None if kernel is None else kernel & before | before & AcsFlag.DT
    if kernel is not None and AcsFlag.EC in before and kernel != before:
        # Egress control that is gone lets through what it blocked, and what it let through it may still.
        left = None
    enhanced = {other: bits for other, bits in settings.enhanced.items() if other != address}
    return replace(settings, acs={**settings.acs, address: left}, enhanced=enhanced)


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
