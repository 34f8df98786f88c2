"""NVIDIA DGX-1 with V100: two sockets, four switches, eight GPUs in a hybrid cube mesh.

Source: the link counts, and which network adapter shares a switch with which GPUs, are those of
``nvidia-smi topo -m`` on such a machine (records of msccl). Addresses are the usual ones.

Declared, because no source tells: the *numbers* of the links (each GPU counts its links in the order of
its peers), the identifiers, what the root complexes do between root ports, and all other devices.
"""

from __future__ import annotations

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode
from atoll.pci.header import PortType
from atoll.twin.machines.intel import PORT_ACS, dmar, endpoint, host_bridge, kernels, port
from atoll.twin.machines.records import nvlink_records, root_complex
from atoll.twin.sizes import GIBIBYTE, KIBIBYTE, MEBIBYTE
from atoll.twin.spec import (
    Bar,
    Blueprint,
    Disk,
    DomainKind,
    FunctionSpec,
    Link,
    Model,
    Network,
    Platform,
)

__all__ = ["machine"]

KERNELS = kernels("root=/dev/nvme0n1p2 ro intel_iommu=on iommu=pt")
SWITCH_ACS = PORT_ACS | AcsFlag.DT

GPUS = tuple(Address(0, bus, 0, 0) for bus in (0x06, 0x07, 0x0A, 0x0B, 0x85, 0x86, 0x89, 0x8A))
MESH = {
    (0, 1): 1, (0, 2): 1, (0, 3): 2, (0, 4): 2, (1, 2): 2, (1, 3): 1, (1, 5): 2, (2, 3): 2,
    (2, 6): 1, (3, 7): 1, (4, 5): 1, (4, 6): 1, (4, 7): 2, (5, 6): 2, (5, 7): 1, (6, 7): 2,
}  # fmt: skip
"""How many links join two GPUs."""


def machine(kernel: str, links: bool) -> Blueprint:
    """Return the machine."""
    bridges = (host_bridge(0, 0x00, 0x7F, 0), host_bridge(1, 0x80, 0xFF, 1))
    functions = [
        port("0000:00:01.0", (0x8086, 0x6F02), PortType.ROOT_PORT, (1, 1), acs=PORT_ACS, numa=0),
        endpoint(
            "0000:01:00.0", (0x8086, 0x1528), ClassCode.ETHERNET, "ixgbe", _wide(0, 2 * MEBIBYTE), flr=True, numa=0
        ),
        port("0000:00:04.0", (0x8086, 0x6F0A), PortType.ROOT_PORT, (2, 2), acs=PORT_ACS, numa=0),
        endpoint("0000:02:00.0", (0x144D, 0xA804), ClassCode.NVME, "nvme", Bar(0, 16 * KIBIBYTE), flr=True, numa=0),
        *_switch(0, "0000:00:02.0", 0x03, (0x05, 0x06, 0x07), nic=0x05),
        *_switch(0, "0000:00:03.0", 0x08, (0x0A, 0x0B, 0x0C), nic=0x0C),
        *_switch(1, "0000:80:02.0", 0x82, (0x84, 0x85, 0x86), nic=0x84),
        *_switch(1, "0000:80:03.0", 0x87, (0x89, 0x8A, 0x8B), nic=0x8B),
    ]
    mesh = _links()
    declared = "declared by the twin: requests cross between root ports of one host bridge where ReqRedir is off"
    records = nvlink_records(GPUS, mesh) if links else ()
    return Blueprint(
        name="dgx1v",
        platform=Platform.INTEL,
        kernel=KERNELS[kernel],
        bridges=bridges,
        functions=tuple(functions),
        default_domain=DomainKind.IDENTITY,
        disk=Disk(Address(0, 2, 0, 0), "nvme/nvme0/nvme0n1", "nvme0n1", "nvme0n1p2", (259, 0)),
        networks=(Network(Address(0, 1, 0, 0), "eno1", default=True),),
        ram=512 * GIBIBYTE,
        links=mesh,
        iommus=(dmar(0, 0xC7FFC000), dmar(1, 0xFBFFC000)),
        files=(*records, root_complex(bridges, declared)),
        linked=links,
        interrupt_chip="IR-PCI-MSI-",
    )


def _wide(index: int, size: int) -> Bar:
    return Bar(index, size, wide=True, prefetchable=True)


def _switch(socket: int, root: str, bus: int, below: tuple[int, ...], *, nic: int) -> list[FunctionSpec]:
    """A root port, a PEX 8796, and behind its downstream ports two GPUs and a network adapter."""
    unit, last = f"dmar{socket}", below[-1]
    found = [
        port(root, (0x8086, 0x6F08), PortType.ROOT_PORT, (bus, last), acs=PORT_ACS, numa=socket, iommu=unit),
        port(f"{bus:02x}:00.0", (0x10B5, 0x8796), PortType.UPSTREAM, (bus + 1, last), numa=socket, iommu=unit),
    ]
    for slot, behind in zip((0x04, 0x08, 0x0C), below, strict=True):
        text = f"{bus + 1:02x}:{slot:02x}.0"
        found.append(
            port(text, (0x10B5, 0x8796), PortType.DOWNSTREAM, (behind, behind), acs=SWITCH_ACS, numa=socket, iommu=unit)
        )
        found.append(_adapter(behind, socket) if behind == nic else _gpu(behind, socket))
    return found


def _adapter(bus: int, socket: int) -> FunctionSpec:
    return endpoint(
        f"{bus:02x}:00.0",
        (0x15B3, 0x1013),
        ClassCode.INFINIBAND,
        "mlx5_core",
        _wide(0, 32 * MEBIBYTE),
        flr=True,
        serial=0x0002C90300A10000 + bus,
        numa=socket,
        iommu=f"dmar{socket}",
    )


def _gpu(bus: int, socket: int) -> FunctionSpec:
    return FunctionSpec(
        Address(0, bus, 0, 0),
        0x10DE,
        0x1DB1,
        ClassCode.DISPLAY_3D,
        bars=(Bar(0, 16 * MEBIBYTE), _wide(1, 16 * GIBIBYTE), _wide(3, 32 * MEBIBYTE)),
        driver="nvidia",
        model=Model.V100,
        subsystem=(0x10DE, 0x1212),
        numa_node=socket,
        iommu=f"dmar{socket}",
    )


def _links() -> tuple[Link, ...]:
    """Number each GPU's links in the order of its peers."""
    peers: dict[int, list[int]] = {gpu: [] for gpu in range(len(GPUS))}
    for gpu in peers:
        for (a, b), count in sorted(MESH.items()):
            if gpu in (a, b):
                peers[gpu] += [b if gpu == a else a] * count
    found = []
    for (a, b), _ in sorted(MESH.items()):
        mine = [number for number, peer in enumerate(peers[a]) if peer == b]
        theirs = [number for number, peer in enumerate(peers[b]) if peer == a]
        found += [Link(GPUS[a], near, GPUS[b], far) for near, far in zip(mine, theirs, strict=True)]
    return tuple(found)
