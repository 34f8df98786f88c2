"""IBM AC922, "Witherspoon": POWER9 with V100 SXM2, four (Redbud, 8335-GTG/GTH) or six (Sequoia).

Sources: the device tree of an 8335-GTH (skiboot hdata/test/op920.wsp.dts); link topologies from skiboot
platforms/astbmc/witherspoon.c; device tree properties from skiboot hw/npu2.c and
doc/device-tree/nvlink.rst; host bridge addresses as on a Talos II, which has the same PHB4.

Declared, because no source tells: parallel links are paired in increasing order; the switches' upstream
ports have one function and no BAR (EEPROM); firmware leaves ACS control 0; which other devices hang where.
"""

from __future__ import annotations

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode
from atoll.pci.header import PortType
from atoll.twin.devicetree import BASE
from atoll.twin.machines import witherspoon_tree as tree
from atoll.twin.machines.records import root_complex
from atoll.twin.sizes import GIBIBYTE, KIBIBYTE, MEBIBYTE
from atoll.twin.spec import (
    Bar,
    Blueprint,
    CpuLink,
    Disk,
    DomainKind,
    FunctionSpec,
    HostBridge,
    KernelSpec,
    Link,
    Model,
    Network,
    Platform,
    Routing,
    Window,
)

__all__ = ["four", "six"]

CHIP_STRIDE = 0x200000000000
"""From one socket's addresses to the next one's (chip 0, chip 8)."""

REDBUD = (("g1", "n0", "g1", "n1", "g1", "n2"), ("g0", "n3", "g0", "n4", "g0", "n5"))
SEQUOIA = (
    ("g1", "n0", "g2", "g2", "g1", "n1"),
    ("g0", "n2", "g2", "g2", "g0", "n3"),
    ("g1", "g0", "g1", "n4", "g0", "n5"),
)
"""For each GPU of a socket: where its links lead, by link number; g is a GPU, n an NPU brick."""

SWITCH_ACS = AcsFlag.SV | AcsFlag.TB | AcsFlag.RR | AcsFlag.CR | AcsFlag.UF | AcsFlag.DT
"""What the switches' downstream ports implement."""

_VERSION = "Linux version {} (root@builder) (gcc) #1 SMP ppc64le"
KERNELS = {
    "6.12": KernelSpec("6.12", (6, 12), _VERSION.format("6.12.117"), "root=/dev/sda2 ro"),
    "5.4": KernelSpec("5.4", (5, 4), _VERSION.format("5.4.0"), "root=/dev/sda2 ro", npu=True),
    "5.4-isolate": KernelSpec(
        "5.4-isolate",
        (5, 4),
        _VERSION.format("5.4.0-isolate"),
        "root=/dev/sda2 ro isolate_nvlink",
        npu=True,
        isolate=True,
    ),
}


def four(kernel: str, links: bool) -> Blueprint:
    """Return the machine with four GPUs."""
    gpus = (("0004:04:00.0", "0004:05:00.0"), ("0035:03:00.0", "0035:04:00.0"))
    return _machine("ac922-4gpu", KERNELS[kernel], links, gpus, REDBUD)


def six(kernel: str, links: bool) -> Blueprint:
    """Return the machine with six GPUs."""
    gpus = (("0004:04:00.0", "0004:05:00.0", "0004:06:00.0"), ("0035:03:00.0", "0035:04:00.0", "0035:05:00.0"))
    return _machine("ac922-6gpu", KERNELS[kernel], links, gpus, SEQUOIA)


def _machine(
    name: str,
    kernel: KernelSpec,
    told: bool,
    places: tuple[tuple[str, ...], ...],
    topology: tuple[tuple[str, ...], ...],
) -> Blueprint:
    sockets = [[Address.parse(text) for text in socket] for socket in places]
    bridges = (_phb(0, 4), _phb(1, 0), _phb(1, 5))
    functions = _functions(sockets, bridges, kernel)
    cpu_links = tuple(link for npu, gpus in enumerate(sockets) for link in _cpu_links(npu, gpus, topology))
    peers = tuple(link for gpus in sockets for link in _links(gpus, topology))
    everywhere: tuple[HostBridge, ...] = bridges
    if kernel.npu:
        everywhere = (*bridges, _npu_phb(0), _npu_phb(1))
        functions += [_npu_function(link) for link in cpu_links]
    coherent = tuple(
        (gpu, 0x40000000000 + (n * 0x2000000000), 16 * GIBIBYTE)
        for n, gpu in enumerate(gpu for gpus in sockets for gpu in gpus)
    )
    functions = tree.with_nodes(functions, everywhere)
    files = tree.build(functions, (*bridges, _npu_phb(0), _npu_phb(1)), cpu_links, peers, coherent, told)
    return Blueprint(
        name=name,
        platform=Platform.POWERNV,
        kernel=kernel,
        bridges=everywhere,
        functions=tuple(functions),
        default_domain=DomainKind.BYPASS,
        disk=Disk(Address.parse("0004:03:00.0"), "ata1/host0/target0:0:0/0:0:0:0", "sda", "sda2", (8, 0)),
        networks=(
            Network(Address.parse("0030:01:00.0"), "enp1s0f0", default=True),
            Network(Address.parse("0030:01:00.1"), "enp1s0f1"),
        ),
        ram=512 * GIBIBYTE,
        links=peers,
        cpu_links=cpu_links,
        coherent=coherent,
        files=(*files, root_complex(bridges, "PHB4 translates every request; declared by the twin")),
        file_links=(("proc/device-tree", "/" + BASE),),
        linked=told,
    )


# -- host bridges


def _phb(chip: int, index: int) -> HostBridge:
    """A PHB4: 2 GiB of 32-bit space at 0x80000000 on the bus, 64-bit space at the same address on both sides."""
    shift = chip * CHIP_STRIDE
    high = 0x6000000000000 + shift + index * 0x2000000000
    return HostBridge(
        domain=chip * 0x30 + index,
        bus=0,
        last_bus=0xFF,
        low=Window(0x80000000, 0x600C000000000 + shift + index * 0x80000000, 0x7FF00000),
        high=Window(high, high, 0x2000000000),
        routing=Routing.TRANSLATED,
        numa_node=chip * 8,
        of_node=f"pciex@{0x600C3C0000000 + shift + index * 0x100000:x}",
    )


def _npu_phb(index: int) -> HostBridge:
    """The emulated host bridge of a socket's NPU: no addresses, no packets."""
    nothing = Window(0, 0, 0)
    node = f"pciex@{0x6030200000000 + index * CHIP_STRIDE:x}"
    return HostBridge(6 + index, 0, 0, nothing, nothing, Routing.TRANSLATED, numa_node=index * 8, of_node=node)


# -- functions


def _functions(
    sockets: list[list[Address]], bridges: tuple[HostBridge, HostBridge, HostBridge], kernel: KernelSpec
) -> list[FunctionSpec]:
    """All but those of the NPUs: a socket's GPUs below a switch, disks and USB beside the first, a network card."""
    usb = sockets[0][-1].bus + 1
    return [
        *_switch(bridges[0], 0x02, (0x02, 0x0A, 0x0B, 0x0C, 0x0D)[: usb - 2], first=3, last=usb),
        _function("0004:03:00.0", 0x1B4B, 0x9235, ClassCode.AHCI, "ahci", Bar(5, 2 * KIBIBYTE), numa=0),
        *(_gpu(address, kernel) for address in sockets[0]),
        _function(f"0004:{usb:02x}:00.0", 0x104C, 0x8241, ClassCode.XHCI, "xhci_hcd", Bar(0, 64 * KIBIBYTE), numa=0),
        _port("0030:00:00.0", bridges[1], 0x1014, 0x04C1, PortType.ROOT_PORT, 1, 1),
        *(
            _function(
                f"0030:01:00.{n}", 0x15B3, 0x1019, ClassCode.ETHERNET, "mlx5_core", _wide(0, 32 * MEBIBYTE),
                numa=8, multifunction=True, flr=True, serial=0xEC0D9A0300A1B2C0 + n,
            )
            for n in (0, 1)
        ),
        *_switch(bridges[2], 0x02, (0x04, 0x05, 0x0D)[: len(sockets[1])], first=3, last=2 + len(sockets[1])),
        *(_gpu(address, kernel) for address in sockets[1]),
    ]  # fmt: skip


def _port(
    text: str, bridge: HostBridge, vendor: int, device: int, port: PortType, first: int, last: int,
    acs: AcsFlag | None = None,
) -> FunctionSpec:  # fmt: skip
    return FunctionSpec(
        Address.parse(text), vendor, device, ClassCode.PCI_BRIDGE, port=port, secondary=first, subordinate=last,
        acs=acs, driver="pcieport", numa_node=bridge.numa_node, revision=0xCA if vendor == 0x10B5 else 0,
    )  # fmt: skip


def _switch(bridge: HostBridge, inner: int, slots: tuple[int, ...], *, first: int, last: int) -> list[FunctionSpec]:
    """A root port with a PEX 8725 below; one bus behind each downstream port, from ``first`` on."""
    domain = f"{bridge.domain:04x}"
    ports = [
        _port(f"{domain}:00:00.0", bridge, 0x1014, 0x04C1, PortType.ROOT_PORT, 1, last),
        _port(f"{domain}:01:00.0", bridge, 0x10B5, 0x8725, PortType.UPSTREAM, inner, last),
    ]
    for bus, slot in enumerate(slots, start=first):
        text = f"{domain}:{inner:02x}:{slot:02x}.0"
        ports.append(_port(text, bridge, 0x10B5, 0x8725, PortType.DOWNSTREAM, bus, bus, acs=SWITCH_ACS))
    return ports


def _function(
    text: str, vendor: int, device: int, class_code: int, driver: str, bar: Bar, *, numa: int,
    multifunction: bool = False, flr: bool = False, serial: int | None = None,
) -> FunctionSpec:  # fmt: skip
    return FunctionSpec(
        Address.parse(text), vendor, device, class_code, bars=(bar,), driver=driver, numa_node=numa, flr=flr,
        multifunction=multifunction, subsystem=(vendor, 0x0001), revision=0x11, serial=serial,
    )  # fmt: skip


def _wide(index: int, size: int) -> Bar:
    return Bar(index, size, wide=True, prefetchable=True)


def _gpu(address: Address, kernel: KernelSpec) -> FunctionSpec:
    return FunctionSpec(
        address,
        0x10DE,
        0x1DB1,
        ClassCode.DISPLAY_3D,
        bars=(Bar(0, 16 * MEBIBYTE), _wide(1, 16 * GIBIBYTE), _wide(3, 32 * MEBIBYTE)),
        driver="nvidia" if kernel.npu else "nouveau",
        model=Model.V100,
        subsystem=(0x10DE, 0x1212),
        numa_node=0 if address.domain == 4 else 8,
    )


def _npu_function(link: CpuLink) -> FunctionSpec:
    return FunctionSpec(
        link.function, 0x1014, 0x04EA, ClassCode.NPU, multifunction=True, loopback=False, flr=True, model=Model.NPU,
        numa_node=link.npu * 8, revision=0x01,
    )  # fmt: skip


# -- links


def _cpu_links(npu: int, gpus: list[Address], topology: tuple[tuple[str, ...], ...]) -> list[CpuLink]:
    """Links to bricks; the emulated function is group << 3 | n, a group for each GPU."""
    found = []
    for group, (gpu, row) in enumerate(zip(gpus, topology, strict=True)):
        bricks = [(number, int(end[1:])) for number, end in enumerate(row) if end[0] == "n"]
        for n, (number, brick) in enumerate(bricks):
            found.append(CpuLink(gpu, number, npu, brick, Address(6 + npu, 0, group, n)))
    return found


def _links(gpus: list[Address], topology: tuple[tuple[str, ...], ...]) -> list[Link]:
    """Links between GPUs, parallel ones paired in increasing order."""
    found = []
    for a in range(len(gpus)):
        for b in range(a + 1, len(gpus)):
            mine = [number for number, end in enumerate(topology[a]) if end == f"g{b}"]
            theirs = [number for number, end in enumerate(topology[b]) if end == f"g{a}"]
            for number, far in zip(mine, theirs, strict=True):
                found.append(Link(gpus[a], number, gpus[b], far))
    return found
