"""Groups of PowerNV: partitionable endpoints, and GPUs joined by NVLink."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from groups_hosts import at, function, groups, host, port

from atoll.host.fact import Known, Unknown
from atoll.host.model import EndKind, Function, Group, Host, Link, LinkEnd, LinkKind, NpuBrick, Platform
from atoll.isolation.groups import predict
from atoll.pci.address import Address
from atoll.pci.header import PortType

_V100 = (0x10DE, 0x1DB1)
_P100 = (0x10DE, 0x15F9)


def _host(members: list[Function], **more: object) -> Host:
    return replace(host(members, units=(), platform=Platform.POWERNV), **more)  # type: ignore[arg-type]


def test_ports_have_no_group_and_a_bus_has_one() -> None:
    # A Talos II (its groups are recorded in a mail to linux-pci, 2025): a card with two functions, a graphics
    # adapter below a PCIe-to-PCI bridge, and a switch.
    members = [
        port("0004:00:00.0", 1, acs=None),
        function("0004:01:00.0", "0004:00:00.0", multifunction=True),
        function("0004:01:00.1", "0004:00:00.0", multifunction=True),
        port("0005:00:00.0", 1, acs=None),
        port("0005:01:00.0", 2, "0005:00:00.0", PortType.PCIE_TO_PCI, acs=None, ids=(0x1A03, 0x1150)),
        function("0005:02:00.0", "0005:01:00.0", PortType.CONVENTIONAL),
        port("0030:00:00.0", 1, acs=None),
        port("0030:01:00.0", 2, "0030:00:00.0", PortType.UPSTREAM, acs=None),
        port("0030:02:01.0", 3, "0030:01:00.0", PortType.DOWNSTREAM, acs=None),
        port("0030:02:02.0", 4, "0030:01:00.0", PortType.DOWNSTREAM, acs=None),
        function("0030:03:00.0", "0030:02:01.0"),
        function("0030:04:00.0", "0030:02:02.0"),
    ]
    found = predict(_host(members))
    assert found.groups == groups("0004:01:00.0 0004:01:00.1", "0005:02:00.0", "0030:03:00.0", "0030:04:00.0")
    assert not found.undetermined
    assert "pnv_ioda_setup_bus_PE" in found.reasons[at("0004:01:00.1")][0]


def test_all_buses_below_a_pcie_to_pci_bridge_are_one() -> None:
    members = [
        port("0000:00:00.0", 1, acs=None),
        port("0000:01:00.0", 2, "0000:00:00.0", PortType.PCIE_TO_PCI, acs=None),
        function("0000:02:00.0", "0000:01:00.0", PortType.CONVENTIONAL),
        port("0000:02:01.0", 3, "0000:01:00.0", PortType.CONVENTIONAL, acs=None),
        function("0000:03:00.0", "0000:02:01.0", PortType.CONVENTIONAL),
    ]
    assert predict(_host(members)).groups == groups("0000:02:00.0 0000:02:01.0 0000:03:00.0")


_PORTS_BESIDE = (
    # A switch among the functions of a slot, after another and before one.
    port("0000:00:00.0", 1, acs=None),
    function("0000:01:00.0", "0000:00:00.0", multifunction=True),
    port("0000:01:00.1", 2, "0000:00:00.0", PortType.UPSTREAM, acs=None, multifunction=True),
    port("0001:00:00.0", 1, acs=None),
    port("0001:01:00.0", 2, "0001:00:00.0", PortType.UPSTREAM, acs=None, multifunction=True),
    function("0001:01:00.1", "0001:00:00.0", multifunction=True),
    # Bridges below a PCIe-to-PCI bridge: one PE, in which 0002:03:01.0 comes before the bridge beside it.
    port("0002:00:00.0", 1, acs=None),
    port("0002:01:00.0", 2, "0002:00:00.0", PortType.PCIE_TO_PCI, acs=None),
    port("0002:02:01.0", 3, "0002:01:00.0", PortType.CONVENTIONAL, acs=None),
    function("0002:03:01.0", "0002:02:01.0", PortType.CONVENTIONAL),
    port("0002:03:02.0", 4, "0002:02:01.0", PortType.CONVENTIONAL, acs=None),
    function("0002:04:01.0", "0002:03:02.0", PortType.CONVENTIONAL),
)
_AFTER_OTHERS = ("0000:01:00.0 0000:01:00.1", "0001:01:00.1", "0002:03:01.0 0002:03:02.0 0002:04:01.0")


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        # As the lab's Linux 6.12 grouped them.
        ((6, 12), _AFTER_OTHERS),
        ((5, 8), _AFTER_OTHERS),
        (
            (5, 7),
            (
                "0000:01:00.0 0000:01:00.1",
                "0001:01:00.0 0001:01:00.1",
                "0002:02:01.0 0002:03:01.0 0002:03:02.0 0002:04:01.0",
            ),
        ),
    ],
)
def test_a_port_shares_the_group_of_others_of_its_endpoint(kernel: tuple[int, int], expected: tuple[str, ...]) -> None:
    machine = host(_PORTS_BESIDE, units=(), platform=Platform.POWERNV, kernel=kernel)
    assert predict(machine).groups == groups(*expected)


def test_without_the_kernels_release_a_port_before_the_others_is_open() -> None:
    found = predict(host(_PORTS_BESIDE, units=(), platform=Platform.POWERNV, kernel=None))
    first = groups("0001:01:00.0 0001:01:00.1", "0002:02:01.0 0002:03:01.0 0002:03:02.0 0002:04:01.0")
    assert found.groups == (*groups("0000:01:00.0 0000:01:00.1"), *first)
    assert [address for address, _ in found.undetermined] == [at("0001:01:00.0"), at("0002:02:01.0")]
    assert all(found.open_about(address) for group in first for address in group)
    assert not found.open_about(at("0000:01:00.0"))


def test_a_port_that_was_found_again_is_in_the_group_that_is_there() -> None:
    there = groups(_AFTER_OTHERS[0], "0001:01:00.0 0001:01:00.1", _AFTER_OTHERS[2])
    recorded = {number: Group(number, members) for number, members in enumerate(there)}
    assert predict(_host(list(_PORTS_BESIDE), groups=Known(recorded))).groups == there


def test_virtual_functions_are_alone() -> None:
    members = [
        port("0000:00:00.0", 1, acs=None),
        function("0000:01:00.0", "0000:00:00.0"),
        function("0000:01:00.2", "0000:00:00.0", physical="0000:01:00.0"),
    ]
    assert predict(_host(members)).groups == groups("0000:01:00.0", "0000:01:00.2")


def _witherspoon(
    *, kernel: tuple[int, int] | None, ids: tuple[int, int] = _V100, line: str = "", shown: bool = True
) -> Host:
    """Two sockets with two GPUs each; every GPU has two bricks."""
    members = []
    bricks = []
    for socket, domain in enumerate(("0004", "0035")):
        npu = f"/xscom@{socket}/npu@5011000"
        members.append(port(f"{domain}:00:00.0", 1, acs=None))
        members.append(port(f"{domain}:01:00.0", 2, f"{domain}:00:00.0", PortType.UPSTREAM, acs=None))
        for gpu in range(2):
            down = f"{domain}:02:0{gpu}.0"
            card = f"{domain}:0{gpu + 3}:00.0"
            members.append(port(down, gpu + 3, f"{domain}:01:00.0", PortType.DOWNSTREAM, acs=None))
            members.append(function(card, down, ids=ids, class_code=0x030200))
            for brick in range(2):
                place = f"000{socket + 6}:00:0{gpu}.{brick}"
                if shown:
                    members.append(function(place, ids=(0x1014, 0x04EA), class_code=0x068001, multifunction=True))
                bricks.append(NpuBrick(place, npu, at(card), at(place) if shown else None, gpu))
    machine = host(members, units=(), platform=Platform.POWERNV, kernel=kernel, command_line=line)
    return replace(machine, npu_bricks=tuple(bricks))


_BY_NPU = groups(
    "0004:03:00.0 0004:04:00.0 0006:00:00.0 0006:00:00.1 0006:00:01.0 0006:00:01.1",
    "0007:00:00.0 0007:00:00.1 0007:00:01.0 0007:00:01.1 0035:03:00.0 0035:04:00.0",
)
_BY_GPU = groups(
    "0004:03:00.0 0006:00:00.0 0006:00:00.1",
    "0004:04:00.0 0006:00:01.0 0006:00:01.1",
    "0007:00:00.0 0007:00:00.1 0035:03:00.0",
    "0007:00:01.0 0007:00:01.1 0035:04:00.0",
)


@pytest.mark.parametrize(
    ("kernel", "ids", "line", "expected"),
    [
        ((5, 12), _V100, "", _BY_NPU),
        ((4, 20), _V100, "", _BY_GPU),
        ((5, 4), _V100, "quiet isolate_nvlink", _BY_GPU),
        ((5, 4), _V100, "isolate_nvlink=0", _BY_NPU),
        ((5, 4), _P100, "", _BY_GPU),
    ],
)
def test_nvlinked_gpus(
    kernel: tuple[int, int], ids: tuple[int, int], line: str, expected: tuple[tuple[object, ...], ...]
) -> None:
    found = predict(_witherspoon(kernel=kernel, ids=ids, line=line))
    assert found.groups == expected
    assert not found.undetermined
    assert found.override is (line == "quiet isolate_nvlink")


def test_since_5_13_gpus_are_alone() -> None:
    found = predict(_witherspoon(kernel=(5, 13), shown=False))
    assert [len(group) for group in found.groups] == [1, 1, 1, 1]
    assert not found.undetermined


def test_without_the_kernels_release_nvlinked_gpus_are_open() -> None:
    found = predict(_witherspoon(kernel=None))
    assert found.groups == _BY_NPU
    assert len(found.undetermined) == 12


def test_links_to_iommus_say_nothing_on_powernv() -> None:
    members = [
        port("0000:00:00.0", 1, acs=None),
        replace(function("0000:01:00.0", "0000:00:00.0"), iommu=Known(None)),
    ]
    found = predict(_host(members))
    assert found.groups == groups("0000:01:00.0")
    assert [address for address, _ in found.undetermined] == [at("0000:01:00.0")]


def test_npu_functions_of_which_no_device_tree_tells_are_open() -> None:
    whole = _witherspoon(kernel=(5, 4))
    without = replace(whole, npu_bricks=())
    assert {address for address, _ in predict(without).undetermined} == set(_addresses(_BY_NPU))
    assert not predict(replace(without, kernel=_witherspoon(kernel=(5, 13)).kernel)).undetermined
    cpu = tuple(
        Link(LinkKind.NVLINK, LinkEnd(EndKind.FUNCTION, b.gpu, n), LinkEnd(EndKind.CPU), None, "nvidia-smi")
        for n, b in enumerate(whole.npu_bricks)
    )
    told = replace(without, links=cpu, links_told=frozenset(b.gpu for b in whole.npu_bricks if b.gpu is not None))
    assert {address for address, _ in predict(told).undetermined} == set(_addresses(_BY_NPU))
    lone = at("0007:00:00.0")
    partly = replace(whole, npu_bricks=tuple(b for b in whole.npu_bricks if b.function != lone))
    assert lone in {address for address, _ in predict(partly).undetermined}


def test_gpus_are_open_where_npu_functions_may_be_hidden() -> None:
    whole = _witherspoon(kernel=(5, 4))
    bricks = {brick.function for brick in whole.npu_bricks if brick.function is not None}
    shown = {address: function for address, function in whole.functions.items() if address not in bricks}
    gpus = {brick.gpu for brick in whole.npu_bricks}
    hidden = replace(whole, npu_bricks=(), functions=shown, groups=Unknown("test"))
    assert not predict(hidden).undetermined
    assert {address for address, _ in predict(replace(hidden, excerpt=True)).undetermined} == gpus
    told = {number: Group(number, (a,)) for number, a in enumerate(sorted({*shown, *bricks}))}
    grouped = replace(hidden, groups=Known(told, "test"))
    assert {address for address, _ in predict(grouped).undetermined} == gpus | bricks
    new = _witherspoon(kernel=(5, 13)).kernel
    assert {address for address, _ in predict(replace(grouped, kernel=new)).undetermined} == bricks


def _addresses(groups: tuple[tuple[Any, ...], ...]) -> list[Address]:
    return [address for group in groups for address in group]
