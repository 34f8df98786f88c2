"""What owners share without access: links, chips, IOMMUs; and that it changes no verdict."""

from __future__ import annotations

from dataclasses import replace

from reach_hosts import CLOSED, at, clusters, endpoint, gpu, links, machine, port, scene, slots, switch

from atoll.host.fact import Known, Unknown
from atoll.host.model import EndKind, Host
from atoll.isolation.contention import Contention, SharedKind, contention
from atoll.isolation.proof import Verdict
from atoll.isolation.shared import shared_on_host
from atoll.pci.express import PcieLink
from atoll.pci.header import PortType

Owners = dict[str, str]


def told(host: Host, owners: Owners) -> list[tuple[str, str]]:
    return [(one.kind.value, one.what) for one in found(host, owners)]


def found(host: Host, owners: Owners) -> tuple[Contention, ...]:
    return contention(scene(host).topology, {at(place): name for place, name in owners.items()})


def test_one_uplink() -> None:
    both = {"03:00.0": "red", "04:00.0": "blue"}
    host = machine(*(replace(f, link=Known(PcieLink(8.0, 8))) for f in switch(CLOSED, CLOSED)))
    uplink, unit = found(host, both)
    assert (uplink.kind, uplink.what) == (SharedKind.UPLINK, "0000:00:01.0")
    assert uplink.bytes_per_second == PcieLink(8.0, 8).bytes_per_second
    assert uplink.users == {"blue": (at("04:00.0"),), "red": (at("03:00.0"),)}
    assert (unit.kind, unit.what, unit.bytes_per_second) == (SharedKind.IOMMU, "dmar0", None)
    assert scene(host).state(clusters(host, red="03:00.0", blue="04:00.0")).verdict is Verdict.PROVEN


def test_one_owner_contends_with_nobody() -> None:
    assert told(machine(*switch(CLOSED, CLOSED)), {"03:00.0": "red", "04:00.0": "red"}) == []


def test_slots_share_no_link() -> None:
    assert told(machine(*slots(CLOSED, CLOSED)), {"01:00.0": "red", "02:00.0": "blue"}) == [("iommu", "dmar0")]


def test_the_link_nearest_to_them_is_told() -> None:
    nested = [
        port("00:01.0", 1),
        port("01:00.0", 2, "00:01.0", PortType.UPSTREAM, acs=None),
        port("02:00.0", 3, "01:00.0", PortType.DOWNSTREAM),
        port("03:00.0", 4, "02:00.0", PortType.UPSTREAM, acs=None),
        *(port(f"04:0{n}.0", 5 + n, "03:00.0", PortType.DOWNSTREAM) for n in range(2)),
        *(endpoint(f"0{5 + n}:00.0", f"04:0{n}.0", iommu=None) for n in range(2)),
        port("02:01.0", 8, "01:00.0", PortType.DOWNSTREAM),
        endpoint("08:00.0", "02:01.0", iommu=None),
    ]
    inner = {"05:00.0": "red", "06:00.0": "blue"}
    assert told(machine(*nested), inner) == [("uplink", "0000:02:00.0")]
    assert told(machine(*nested), {**inner, "08:00.0": "green"}) == [
        ("uplink", "0000:00:01.0"),
        ("uplink", "0000:02:00.0"),
    ]


def test_a_switch_chip_and_a_conventional_bus() -> None:
    cards = [gpu("01:00.0", "00:01.0"), gpu("02:00.0", "00:02.0")]
    wires = [
        link for place in ("01:00.0", "02:00.0") for link in links(place, EndKind.SWITCH, (0, None), name="NVSwitch 2")
    ]
    host = machine(*slots(CLOSED, CLOSED)[::2], *cards, links=wires)
    assert ("switch-chip", "NVSwitch 2") in told(host, {"01:00.0": "red", "02:00.0": "blue"})
    bridge = port("01:00.0", 2, "00:01.0", PortType.PCIE_TO_PCI, acs=None)
    old = [endpoint(f"02:0{n}.0", "01:00.0", port_type=PortType.CONVENTIONAL, iommu=None) for n in range(2)]
    assert told(machine(port("00:01.0", 1), bridge, *old), {"02:00.0": "red", "02:01.0": "blue"}) == [
        ("bus", "0000:01:00.0")
    ]


def test_before_owners_are_named_each_group_counts_as_one() -> None:
    host = machine(*(replace(f, link=Known(PcieLink(8.0, 8))) for f in switch(CLOSED, CLOSED)))
    (uplink,) = shared_on_host(scene(host).topology)
    assert (uplink.kind, uplink.what) == (SharedKind.UPLINK, "0000:00:01.0")
    assert uplink.bytes_per_second == PcieLink(8.0, 8).bytes_per_second
    assert [len(functions) for functions in uplink.users.values()] == [1, 1]
    assert all(name.startswith("group ") for name in uplink.users)
    idle = [replace(f, class_code=0x0C0330) if not f.is_port else f for f in host.functions.values()]
    assert shared_on_host(scene(machine(*idle)).topology) == (), "USB hosts fill no link"


def test_where_groups_are_unknown_each_device_counts_as_one() -> None:
    functions = [replace(f, group=Unknown("not read")) for f in switch(CLOSED, CLOSED)]
    (uplink,) = shared_on_host(scene(machine(*functions)).topology)
    assert list(uplink.users) == ["device 0000:03:00", "device 0000:04:00"]


def test_a_port_of_its_own_is_shared_with_nobody() -> None:
    assert shared_on_host(scene(machine(*slots(CLOSED, CLOSED, CLOSED))).topology) == ()
