"""Interconnects outside PCIe: links, and what stands at their ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from atoll.pci.address import Address

__all__ = ["EndKind", "Link", "LinkEnd", "LinkKind", "NpuBrick"]


class LinkKind(StrEnum):
    """The interconnects outside PCIe. Of those from ``XE_LINK`` on no record tells more than that they may be there."""

    NVLINK = "nvlink"
    XGMI = "xgmi"
    C2C = "c2c"
    XE_LINK = "xe-link"
    HCCS = "hccs"
    NEURONLINK = "neuronlink"
    MLU_LINK = "mlu-link"
    IPU_LINK = "ipu-link"
    TENSTORRENT = "tenstorrent-ethernet"
    GCU_LARE = "gcu-lare"
    XPU_LINK = "xpu-link"
    MTLINK = "mtlink"
    ICI = "ici"
    OTHER = "other"
    """Of makers that no table names."""
    NTB = "ntb"
    """What joins two ends of non-transparent bridges: what is written into one comes out of the other as its own."""


class EndKind(StrEnum):
    """What stands at an end of a link."""

    FUNCTION = "function"
    CPU = "cpu"
    SWITCH = "switch"
    OUTSIDE = "outside"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, order=True)
class LinkEnd:
    """One end of a link."""

    kind: EndKind
    function: Address | None = None
    """The function at this end; for a CPU-side end the bridge function (NPU) where the kernel shows one."""
    number: int | None = None
    """The link's number at this end; None where no source told."""
    name: str = ""
    """What the source called an end that is no function of this host."""


@dataclass(frozen=True, slots=True)
class Link:
    """One physical link between two ends. Parallel links are links of their own."""

    kind: LinkKind
    a: LinkEnd
    b: LinkEnd
    bytes_per_second: int | None
    """Per direction; None where no source told."""
    source: str
    pairing_told: bool = True
    """False: one of several parallel links of which no source told which number goes with which."""


class NpuBrick(NamedTuple):
    """One CPU-facing NVLink brick of a POWER NPU, as its PCI node in the device tree describes it."""

    path: str
    """Of the brick's PCI node, below the device tree's root."""
    npu: str
    """Path of the NPU it belongs to: one a socket on POWER9."""
    gpu: Address | None
    """The GPU that it faces (``ibm,gpu``)."""
    function: Address | None
    """Its emulated PCI function; None where this kernel shows none (since 5.13)."""
    group_id: int | None
    """``ibm,npu-group-id`` of its link."""
