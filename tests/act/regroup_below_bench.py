"""A box whose sub-hierarchy shares one group, and a plan that gives two clusters groups of their own below it."""

from __future__ import annotations

from act_bench import host_of

from atoll.act.machine import Machine
from atoll.controls.present import present
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.host.model import Host
from atoll.isolation.proof import prove
from atoll.isolation.reach import Reach
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.fingerprint import fingerprint
from atoll.plan.needs import Needs
from atoll.plan.regrouping import group_for
from atoll.plan.sequence import Sequence
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan
from atoll.twin import Twin

__all__ = [
    "BLUE",
    "OPEN_PORTS",
    "RED",
    "ROOT_PORT",
    "SPEC",
    "drivers",
    "groups",
    "of",
    "regrouping_below",
    "spoiled_below",
]

ROOT_PORT, UPSTREAM = Address.parse("0000:00:01.0"), Address.parse("0000:01:00.0")
OPEN_PORTS = (Address.parse("0000:02:02.0"), Address.parse("0000:02:03.0"))
"""Downstream ports without ACS: what is found again below them joins their group."""
RED = (Address.parse("0000:03:00.0"), Address.parse("0000:05:00.0"))
BLUE = (Address.parse("0000:04:00.0"), Address.parse("0000:06:00.0"))
SPEC = "".join(
    f"[cluster.{name}]\ndevices = [{', '.join(repr(str(address)) for address in devices)}]\n"
    for name, devices in (("red", RED), ("blue", BLUE))
)


def groups(twin: Twin) -> set[tuple[str, ...]]:
    """The groups of a twin, by their members: numbers are no identity."""
    return {twin.list(f"sys/kernel/iommu_groups/{number}/devices") for number in twin.list("sys/kernel/iommu_groups")}


def drivers(twin: Twin) -> dict[Address, str | None]:
    return {address: device.driver for address, device in twin.kernel.devices.items()}


def spoiled_below() -> Twin:
    """A box with a whole sub-hierarchy discovered while the root port above it did not redirect: one group."""
    twin = Twin.new("pcie-box")
    twin.kernel.hardware.functions[ROOT_PORT].set_acs(AcsFlag(0))
    twin.write(f"sys/bus/pci/devices/{UPSTREAM}/remove", b"1")
    twin.write("sys/bus/pci/rescan", b"1")
    together = next(members for members in groups(twin) if str(RED[0]) in members)
    assert {str(ROOT_PORT), str(UPSTREAM), *map(str, RED), *map(str, BLUE)} <= set(together)
    return twin


def regrouping_below(machine: Machine, spec: str = SPEC) -> tuple[Host, Plan]:
    """The plan that makes the groups, whether or not anything else can be achieved: this switch's ports have no ACS."""
    host = host_of(machine)
    topology, settings = Topology(host), present(host)
    clusters = read_spec(spec, host, name="spec")
    wanted = Needs({}, {}, prove(Reach(topology, settings, Policy.STRICT), clusters))
    grouping = group_for(topology, settings, clusters, {})
    steps = Sequence(topology, settings, clusters, wanted, grouping).steps() if not grouping.impossible else ()
    devices = dict.fromkeys(step.device for step in steps)
    prints = tuple((address, fingerprint(host.functions[address])) for address in devices)
    return host, Plan(host.name, "", steps, (), (), impossible=grouping.impossible, fingerprints=prints)


def of(name: str, devices: tuple[Address, ...]) -> str:
    return f"[cluster.{name}]\ndevices = [{', '.join(repr(str(address)) for address in devices)}]\n"
