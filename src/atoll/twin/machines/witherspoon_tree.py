"""The device tree of an AC922: host bridges, PCI nodes, NPUs and links, as skiboot writes them.

Sources: skiboot hdata/test/op920.wsp.dts (an 8335-GTH), hw/npu2.c, doc/device-tree/nvlink.rst.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode, DeviceClass
from atoll.twin.devicetree import DeviceTree, Node, cells, strings
from atoll.twin.spec import CpuLink, FunctionSpec, HostBridge, Link, Model

__all__ = ["build", "with_nodes"]

LINK_RATE = (0x6, 0xAEA7D0)
"""``ibm,link-speed``: 25.78125 Gbit/s a lane, eight lanes: 25 GB/s each way."""
LINK_CODE = 0x8
"""``nvidia,link-speed``: NVIDIA's number for that."""
NAMES: dict[int, str] = {
    DeviceClass.PCI_BRIDGE: "pci",
    DeviceClass.DISPLAY_3D: "3d-controller",
    DeviceClass.SATA: "sata",
    DeviceClass.USB: "usb-xhci",
    DeviceClass.ETHERNET: "ethernet",
    DeviceClass.OTHER_BRIDGE: "bridge",
}


def with_nodes(functions: list[FunctionSpec], bridges: tuple[HostBridge, ...]) -> list[FunctionSpec]:
    """Return the functions with their device tree paths."""
    tops = {bridge.domain: bridge.of_node for bridge in bridges}
    paths: dict[Address, str] = {}
    above = {(spec.address.domain, spec.secondary): spec.address for spec in functions if spec.secondary}
    found = []
    for spec in sorted(functions, key=lambda spec: spec.address):
        parent = above.get(spec.address[:2])
        top = tops[spec.address.domain] if parent is None else paths[parent]
        paths[spec.address] = f"{top}/{_node_name(spec)}"
        found.append(replace(spec, of_node=paths[spec.address]))
    return found


def _node_name(spec: FunctionSpec) -> str:
    return f"{NAMES[spec.class_code >> 8]}@{spec.address.device:x}" + (
        f",{spec.address.function:x}" if spec.address.function else ""
    )


def build(
    functions: list[FunctionSpec],
    bridges: tuple[HostBridge, ...],
    cpu_links: tuple[CpuLink, ...],
    links: tuple[Link, ...],
    coherent: tuple[tuple[Address, int, int], ...],
    told: bool,
) -> tuple[tuple[str, bytes], ...]:
    """Return the tree's files; without what says where links lead unless ``told``."""
    tree = DeviceTree()
    tree.add(
        "",
        compatible=strings("ibm,powernv", "ibm,p9-openbmc", "ibm,witherspoon"),
        model=strings("8335-GTH"),
        model_name=strings("ibm,witherspoon"),
        vendor=strings("IBM"),
        **{"#address-cells": cells(2), "#size-cells": cells(2)},
    )
    for bridge in bridges:
        _host_bridge(tree, bridge)
    for spec in functions:
        if spec.of_node is not None:
            _pci(tree, spec.of_node, spec.address, spec.vendor, spec.device, spec.class_code)
    for _, base, size in coherent:
        words = cells(base >> 32, base & 0xFFFFFFFF, size >> 32, size & 0xFFFFFFFF)
        tree.add(f"memory@{base:x}", device_type=strings("memory"), reg=words,
                 compatible=strings("ibm,coherent-device-memory"), status=strings("okay"))  # fmt: skip
    _npus(tree, functions, bridges, cpu_links, coherent, told)
    if told:
        _peers(tree, functions, bridges, cpu_links, links)
    return tree.files()


def _host_bridge(tree: DeviceTree, bridge: HostBridge) -> None:
    assert bridge.of_node is not None
    emulated = bridge.high.size == 0
    kinds = ("ibm,power9-npu-pciex", "ibm,ioda2-npu2-phb") if emulated else ("ibm,power9-pciex", "ibm,ioda3-phb")
    chip = bridge.numa_node
    tree.add(
        bridge.of_node,
        compatible=strings(*kinds),
        device_type=strings("pciex"),
        bus_range=cells(bridge.bus, bridge.last_bus),
        **{
            "#address-cells": cells(3),
            "#size-cells": cells(2),
            "linux,pci-domain": cells(bridge.domain),
            "ibm,opal-phbid": cells(0, bridge.domain),
            "ibm,chip-id": cells(chip),
        },
    )


def _pci(tree: DeviceTree, path: str, address: Address, vendor: int, device: int, class_code: int) -> None:
    tree.add(
        path,
        reg=cells(address.requester_id << 8, 0, 0, 0, 0),
        class_code=cells(class_code),
        vendor_id=cells(vendor),
        device_id=cells(device),
    )


def _npus(
    tree: DeviceTree,
    functions: list[FunctionSpec],
    bridges: Iterable[HostBridge],
    cpu_links: tuple[CpuLink, ...],
    coherent: tuple[tuple[Address, int, int], ...],
    told: bool,
) -> None:
    """Each socket's NPU with its links, and the host bridge that emulates a function for each."""
    gpus = {spec.address: spec for spec in functions if spec.model is Model.V100}
    order = list(gpus)
    memory = {gpu: base for gpu, base, _ in coherent}
    for bridge in bridges:
        if bridge.high.size:
            continue
        assert bridge.of_node is not None
        index = bridge.domain - 6
        mine = [link for link in cpu_links if link.npu == index]
        xscom = f"xscom@{0x603FC00000000 + index * 0x200000000000:x}"
        tree.add(xscom, compatible=strings("ibm,xscom", "ibm,power9-xscom"), **{"ibm,chip-id": cells(bridge.numa_node)})
        npu = tree.add(
            f"{xscom}/npu@5011000",
            compatible=strings("ibm,power9-npu"),
            reg=cells(0x5011000, 0x2C),
            **{"ibm,npu-index": cells(index), "ibm,npu-links": cells(len(mine))},
        )
        tree.add(
            bridge.of_node,
            **{"ibm,npcq": cells(npu.phandle), "ibm,npu-index": cells(index), "ibm,links": cells(len(mine))},
        )
        for link in sorted(mine, key=lambda link: link.brick):
            node = _npu_link(tree, npu.path, link, slot=f"GPU{order.index(link.gpu)}")
            path = f"{bridge.of_node}/{_emulated_name(link.function)}"
            _pci(tree, path, link.function, 0x1014, 0x04EA, ClassCode.NPU)
            region = tree.nodes[f"memory@{memory[link.gpu]:x}"].phandle
            tree.add(path, memory_region=cells(region), **{"ibm,nvlink-speed": cells(LINK_CODE)})
            if told:
                path_of_gpu = gpus[link.gpu].of_node
                assert path_of_gpu is not None
                handle = tree.nodes[path_of_gpu].phandle
                tree.add(path, **{"ibm,gpu": cells(handle), "ibm,nvlink": cells(node.phandle)})


def _npu_link(tree: DeviceTree, npu: str, link: CpuLink, *, slot: str) -> Node:
    """One of an NPU's links, and the slot of the GPU to which it leads."""
    return tree.add(
        f"{npu}/link@{link.brick}",
        compatible=strings("ibm,npu-link"),
        reg=cells(link.brick),
        **{
            "ibm,npu-link-index": cells(link.brick),
            "ibm,npu-group-id": cells(link.function.device),
            "ibm,slot-label": strings(slot),
            "ibm,link-speed": cells(*LINK_RATE),
            "nvidia,link-speed": cells(LINK_CODE),
        },
    )


def _emulated_name(address: Address) -> str:
    return f"bridge@{address.device:x}" + (f",{address.function:x}" if address.function else "")


def _peers(
    tree: DeviceTree,
    functions: list[FunctionSpec],
    bridges: Iterable[HostBridge],
    cpu_links: tuple[CpuLink, ...],
    links: tuple[Link, ...],
) -> None:
    """``ibm,npu`` and ``ibm,nvlink-peers`` of each GPU, the latter by the GPU's link numbers."""
    tops = {bridge.domain: bridge.of_node for bridge in bridges}
    handles = {spec.address: tree.nodes[spec.of_node].phandle for spec in functions if spec.of_node is not None}
    for link in cpu_links:
        path = f"{tops[link.function.domain]}/{_emulated_name(link.function)}"
        handles[link.function] = tree.nodes[path].phandle
    for spec in functions:
        if spec.model is not Model.V100 or spec.of_node is None:
            continue
        ends = {link.number: handles[link.function] for link in cpu_links if link.gpu == spec.address}
        npu = cells(*ends.values())
        ends |= {link.a_number: handles[link.b] for link in links if link.a == spec.address}
        ends |= {link.b_number: handles[link.a] for link in links if link.b == spec.address}
        peers = cells(*(ends[number] for number in sorted(ends)))
        tree.add(spec.of_node, **{"ibm,npu": npu, "ibm,nvlink-peers": peers})
