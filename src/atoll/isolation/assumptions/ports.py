"""Ports and root complexes: what is taken of what routes requests."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.controls.waking import is_kept_awake, may_sleep, opens_asleep
from atoll.fabric.topology import Topology
from atoll.host.fact import Known
from atoll.isolation.assumptions.assumption import Assumption
from atoll.isolation.clusters import Clusters
from atoll.isolation.reach import Reach
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, PortType

__all__ = ["configuration_space", "ports_awake", "root_complex_routing", "unsolicited_completions"]


def configuration_space(_reach: Reach, _clusters: Clusters) -> Iterator[Assumption]:
    """Of every host."""
    what = "ports do what their configuration space says, devices answer where it says, and only the host can write it:"
    what += " messages that devices send one another (MCTP) set nothing up"
    yield Assumption("configuration-space", what)


def root_complex_routing(reach: Reach, _clusters: Clusters) -> Iterator[Assumption]:
    """Where some source states what root complexes do."""
    routing = reach.topology.host.root_routing.values()
    sources = sorted({fact.source for fact in routing if isinstance(fact, Known)})
    if sources:
        yield Assumption(
            "root-complex-routing", "what root complexes do between their ports is as stated: " + "; ".join(sources)
        )


def unsolicited_completions(reach: Reach, clusters: Clusters) -> Iterator[Assumption]:
    """Where completions may pass a switch, or a device of several owners."""
    topology = reach.topology
    above = (port for address in clusters.tenant() for port in topology.up(address))
    below_switch = any(topology.port_type(port) is PortType.DOWNSTREAM for port in above)
    if below_switch or _devices_of_several(topology, clusters):
        what = "switch" if below_switch else "device of several functions"
        yield Assumption(
            "unsolicited-completions",
            "a device takes no completion that it did not ask for: completions with relaxed ordering pass a "
            f"{what} whatever CmpltRedir says",
        )


def _devices_of_several(topology: Topology, clusters: Clusters) -> bool:
    """Whether functions of one device, one of them named, belong to different owners."""
    owner = {**clusters.cluster_of(topology.functions), **clusters.tenant()}
    seen: dict[object, str] = {}
    for address, function in topology.functions.items():
        if not function.is_port:
            above = function.parent
            alone = above is not None and topology.port_type(above) in DOWNSTREAM_PORTS
            # Below such a port stands one device, whatever device numbers ARI makes of its functions.
            device = above if alone else (function.host_bridge, (function.physical_function or address).slot)
            if seen.setdefault(device, owner[address]) != owner[address]:
                return True
    return False


def ports_awake(reach: Reach, clusters: Clusters) -> Iterator[Assumption]:
    """Where ports would open by waking up."""
    topology, settings = reach.topology, reach.settings
    losing = set()
    for port in _may_be_asleep(topology, clusters):
        control, function = settings.acs.get(port), topology.functions[port]
        if control is not None and opens_asleep(topology.host, function, control):
            losing.add(port)
        if settings.enhanced.get(port) and may_sleep(topology.host, function):
            losing.add(port)
    if losing:
        yield Assumption(
            "ports-awake",
            f"{len(losing)} port(s) above functions of clusters do not sleep while the host runs (runtime power"
            " management, D3): they would wake up with the kernel's ACS policy, which closes less than what is set;"
            " power/control `on`, which apply sets where it sets ACS, keeps a port awake",
        )


def _may_be_asleep(topology: Topology, clusters: Clusters) -> set[Address]:
    """Return the ports above functions of clusters that nothing is seen to keep awake.

    What is awake keeps all above it awake (Documentation/power/runtime_pm.rst: a device with active children is not
    suspended).
    """
    ports: set[Address] = set()
    awake: set[Address] = set()
    for address in clusters.tenant():
        path = topology.up(address)
        ports.update(path)
        kept = next((place for place, port in enumerate(path) if is_kept_awake(topology.functions[port])), len(path))
        awake.update(path[kept:])
    return ports - awake
