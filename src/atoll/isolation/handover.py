"""The moment of hand-over: the settings once each cluster's devices have reached their user as its file says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from atoll.controls.link_control import Effect
from atoll.controls.registry import link_control
from atoll.events.catalogue import reset_kinds
from atoll.events.effect import reset_alone
from atoll.fabric.default_domain import default_domain
from atoll.fabric.disabled import word_against_iommu
from atoll.fabric.domains import holder_of
from atoll.fabric.families import possible_kinds
from atoll.fabric.links import far_end, leads_on, near_end
from atoll.fabric.settings import Domain, DomainKind, Settings
from atoll.fabric.switching import switched_on
from atoll.fabric.topology import Topology
from atoll.host.command_line import options
from atoll.host.fact import Known, value_of
from atoll.host.model import EndKind, Function, Host, Platform
from atoll.isolation.clusters import HOST, Cluster, Clusters, Handover
from atoll.pci.address import Address

__all__ = ["HELD_SPACE", "handed_over", "in_space_of", "links_to_cut", "opened", "without_ats"]

HELD_SPACE = "cluster "
"""How the address space of a cluster that is handed over is named, followed by the cluster's name."""


def links_to_cut(topology: Topology, owner: Mapping[Address, str], function: Address) -> frozenset[int]:
    """Return the numbers of a function's links over which functions of other owners can be reached.

    ``owner`` names the cluster of every function. A link to a switch chip counts where something of another owner
    hangs on any (chips may be joined), and where the far end is not known. Links whose number no source told, or one
    that the device's control cannot have, are not in it: they cannot be named to any control. CPU-facing links are
    never part of a disable mask. Of the trusted host's functions only links to others' functions count: the host may
    reach whom it likes over a switch.
    """
    found = set()
    control = link_control(topology.functions[function])
    for link in topology.links.get(function, ()):
        near, far = near_end(link, function), far_end(link, function)
        if near.number is None or (control is not None and not control.names(near.number)):
            continue
        match far.kind:
            case EndKind.CPU:
                continue
            case EndKind.FUNCTION:
                foreign = far.function is None or owner.get(far.function) != owner[function]
            case EndKind.SWITCH:
                foreign = owner[function] != HOST and _foreign_on_switches(topology, owner, function)
            case _:
                foreign = owner[function] != HOST
        if foreign:
            found.add(near.number)
    return frozenset(found)


def _foreign_on_switches(topology: Topology, owner: Mapping[Address, str], function: Address) -> bool:
    """Whether a link of another owner leads to a chip, or may: of functions whose links no source told."""
    mine, told = owner[function], topology.host.links_told
    if any(
        leads_on(link, other) for other, links in topology.links.items() if owner.get(other) != mine for link in links
    ):
        return True
    kinds = {link.kind for link in topology.links.get(function, ())}
    others = (other for other in topology.endpoints if other not in told and owner.get(other) != mine)
    return any(kinds & possible_kinds(topology.functions[other]) for other in others)


def handed_over(topology: Topology, settings: Settings, clusters: Clusters) -> Settings:
    """Return the settings after every cluster was handed over, those of others as they may be at any moment.

    Stock vfio-pci resets each device (at opening, and again when the VMM resets its guest); a holder resets by
    opening and cuts afterwards; devices already held by an open descriptor stay as they are. Owners switch on
    memory decoding and bus mastering of what they own, and the kernel those of the ports above.
    """
    settings = switched_on(topology, settings, clusters.tenant())
    for cluster in clusters.tenants:
        for address in cluster.functions:
            settings = _hand_over(topology, settings, clusters, cluster, address)
    return settings


def opened(topology: Topology, settings: Settings, clusters: Clusters, addresses: Collection[Address]) -> Settings:
    """Return the settings once owners have opened these functions of theirs: through VFIO, but for host drivers."""
    settings = switched_on(topology, settings, addresses)
    for cluster in clusters.tenants:
        for address in cluster.functions if cluster.handover is not Handover.KERNEL else ():
            if address in addresses and not _already_held(topology, settings, address):
                settings = in_space_of(topology, settings, cluster.name, address)
    return settings


def _hand_over(
    topology: Topology, settings: Settings, clusters: Clusters, cluster: Cluster, address: Address
) -> Settings:
    function = topology.functions[address]
    held = _already_held(topology, settings, address)
    if cluster.handover is Handover.KERNEL:
        if held:
            # Who holds it closes it first, which resets it.
            settings = reset_alone(topology, settings, address, reset_kinds(function)[0])
        return settings.with_domain(address, default_domain(topology.host, function))
    if not held:
        settings = in_space_of(topology, settings, cluster.name, address)
    if cluster.handover is Handover.VFIO:
        # A tenant's VMM resets whether or not somebody held the device before.
        return reset_alone(topology, settings, address, reset_kinds(function)[0])
    if held:
        return settings
    settings = reset_alone(topology, settings, address, reset_kinds(function)[0])
    control = link_control(function)
    if control is None or control.effect is not Effect.NOW:
        return settings
    if control.is_assumed and not clusters.allow_assumed:
        return settings
    owner = clusters.cluster_of(topology.functions)
    return settings.with_cut(address, links_to_cut(topology, owner, address))


def in_space_of(topology: Topology, settings: Settings, cluster: str, address: Address) -> Settings:
    """Return the settings with a function in its cluster's address space, as VFIO puts it there, at the NPU too."""
    space = _held_space(topology, cluster, topology.functions[address])
    settings = replace(settings, ats=_ats_when_held(topology, settings, address)).with_domain(address, space)
    npu = settings.cpu_links.get(address)
    if npu is None or npu.kind is DomainKind.BLOCKED:
        return settings
    return replace(settings, cpu_links={**settings.cpu_links, address: space})


def _held_space(topology: Topology, cluster: str, function: Function) -> Domain:
    """The address space that VFIO has a function in: one of its cluster's, if an IOMMU serves the function at all."""
    host = topology.host
    if function.address in topology.bricks:
        # It follows its GPU.
        return Domain(DomainKind.TRANSLATED, HELD_SPACE + cluster, f"its GPU is held by {cluster}")
    default = default_domain(host, function)
    served = isinstance(host.groups, Known) and value_of(function.group, None) is not None
    if not served or default.kind is DomainKind.NONE or word_against_iommu(host):
        # Only its no-IOMMU mode hands such a function over, or nothing does; or whether an IOMMU is in use is open.
        return default
    return Domain(DomainKind.TRANSLATED, HELD_SPACE + cluster, f"its owner {cluster} holds it through VFIO")


def _ats_when_held(topology: Topology, settings: Settings, address: Address) -> Mapping[Address, bool | None]:
    """Whether ATS is on once a function is in an address space that translates: not told by its being off before.

    Linux switches it on with the domain: the SMMU's driver leaves it off while addresses pass unchanged, and all do
    while everything is blocked (drivers/iommu/arm/arm-smmu-v3, ``arm_smmu_attach_dev``; the ``blocked`` domains).
    PowerNV's never does.
    """
    if settings.ats.get(address) is not False or topology.host.platform is Platform.POWERNV:
        return settings.ats
    domain = settings.domain.get(address)
    kind = domain.kind if domain is not None else DomainKind.UNKNOWN
    told = kind is DomainKind.TRANSLATED or (kind is DomainKind.IDENTITY and topology.host.platform is Platform.X86)
    if told or without_ats(topology.host):
        return settings.ats
    return {**settings.ats, address: None}


def without_ats(host: Host) -> bool:
    """Whether this kernel switches ATS on nowhere: PowerNV's never does, and none that was told ``pci=noats``."""
    return host.platform is Platform.POWERNV or "noats" in options(value_of(host.command_line, ""), "pci")


def _already_held(topology: Topology, settings: Settings, address: Address) -> bool:
    domain = settings.domain.get(address)
    if domain is not None and domain.space.startswith(HELD_SPACE):
        return True
    return holder_of(topology.host, topology.functions[address]) is not None
