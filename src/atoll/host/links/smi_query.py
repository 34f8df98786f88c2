"""What ``nvidia-smi -q -x`` says of each GPU: its address, UUID, C2C mode and the NVLink fabric it belongs to.

Source: the program's own output and DTD (``nvsmi_device_v12.dtd``). It has no list of NVLinks. ``fabric`` (NVML's
``nvmlGpuFabricInfo_t``): GPUs of one cluster UUID and clique can access each other over NVLink once its state is
Completed; which links carry that is not told. On machines whose NVLink ends inside the box the UUID is all zeros
(NCCL ``src/mnnvl.cc`` takes such a GPU for one of no cluster): then the GPU has links to switches, and which
GPUs they join is not told, for partitions of one machine look alike. ``c2c_mode`` Enabled: a C2C link to the CPU is up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atoll.host.gap import Gap
from atoll.host.links.instances import split_gpus
from atoll.host.links.smi import SmiGpu
from atoll.host.links.told import ToldLinks
from atoll.host.links.xml import Element
from atoll.host.model import EndKind, Function, Link, LinkEnd, LinkKind
from atoll.pci.address import Address

__all__ = ["QueriedGpu", "fabric_links", "fabric_name", "parse_query"]


@dataclass(frozen=True, slots=True)
class QueriedGpu:
    """One GPU of ``nvidia-smi -q -x``."""

    index: int | None
    """None where the text shows some of the GPUs only (``-i``): then their order does not number them."""
    address: Address
    uuid: str
    product: str
    c2c: bool | None
    """Whether its C2C link is up; None where the text does not say."""
    fabric: str | None
    """Cluster and clique of a GPU whose registration is complete, empty where it names none; None otherwise."""
    module: str
    """Its place on the baseboard (``module_id``), which is not its PCI order."""
    instances: int | None = None
    """How many instances it is split in; None where it is not split, or the text does not say."""

    @property
    def smi(self) -> SmiGpu | None:
        """What it tells about names; None where it has no index."""
        return None if self.index is None else SmiGpu(self.index, self.uuid, self.address)


def parse_query(root: Element) -> tuple[QueriedGpu, ...]:
    """Return the GPUs of an ``nvidia_smi_log``, numbered in its order, which is that of the indices."""
    gpus = []
    shown = root.all("gpu")
    whole = root.value("attached_gpus") in ("", str(len(shown)))
    for index, gpu in enumerate(shown):
        try:
            address = Address.parse(gpu.value("pci", "pci_bus_id") or gpu.attributes.get("id", ""))
        except ValueError:
            continue
        gpus.append(
            QueriedGpu(
                index if whole else None,
                address,
                _told(gpu.value("uuid")),
                gpu.value("product_name"),
                {"Enabled": True, "Disabled": False}.get(gpu.value("c2c_mode")),
                _fabric(gpu),
                _told(gpu.value("platformInfo", "module_id")),
                split_gpus(gpu),
            )
        )
    return tuple(gpus)


def _told(text: str) -> str:
    return "" if text == "N/A" else text


def _fabric(gpu: Element) -> str | None:
    if gpu.value("fabric", "state") != "Completed" or gpu.value("fabric", "status") != "Success":
        return None
    return fabric_name(_told(gpu.value("fabric", "clusterUuid")), _told(gpu.value("fabric", "cliqueId")))


def fabric_name(cluster: str, clique: str) -> str:
    """Return what to call the fabric of a cluster's clique; empty for that of no cluster, whose UUID is all zeros."""
    return f"NVLink fabric {cluster} clique {clique}" if clique and cluster.strip("0-") else ""


def fabric_links(gpus: tuple[QueriedGpu, ...], functions: Mapping[Address, Function], *, source: str) -> ToldLinks:
    """Return what the text tells of links: that there is one to a fabric or to the CPU, without numbers."""
    links = []
    gaps = []
    for gpu in gpus:
        if gpu.address not in functions:
            why = f"{source} shows a GPU there, the host has no such function"
            gaps.append(Gap(f"links of {gpu.address}", why, "find out which record is of this machine"))
            continue
        near = LinkEnd(EndKind.FUNCTION, gpu.address)
        if gpu.fabric is not None:
            links.append(Link(LinkKind.NVLINK, near, LinkEnd(EndKind.SWITCH, None, None, gpu.fabric), None, source))
        if gpu.c2c:
            links.append(Link(LinkKind.C2C, near, LinkEnd(EndKind.CPU), None, source))
    return ToldLinks(source, tuple(links), frozenset(), tuple(gaps))
