"""Pasted texts for tests, and the recorded ones."""

from __future__ import annotations

import lzma
from dataclasses import replace
from pathlib import Path

from atoll.host.fact import Known
from atoll.host.model import Function, Host
from atoll.host.records.pasted.text import read_text
from atoll.pci.address import Address
from atoll.pci.sriov import Sriov

__all__ = [
    "BRIDGE",
    "CAPTURES",
    "GPU",
    "MACHINES",
    "NIC",
    "PORT",
    "RENDERED",
    "SOUND",
    "at",
    "groups_of",
    "host_of",
    "lspci",
    "one",
    "recorded_text",
    "without_sizes",
]

_DATA = Path(__file__).parents[2] / "data"
CAPTURES = _DATA / "kernel-captures"
RENDERED = _DATA / "records" / "lspci-of-captures"
MACHINES = _DATA / "records" / "machines"

BRIDGE, GPU, SOUND, NIC = "00:01.0", "01:00.0", "01:00.1", "02:00.0"
"""The machine of pasted lists of groups: the bridge, what is below it, and a function that stands alone."""

PORT = """\
00:01.0 PCI bridge [0604]: Intel Corporation Some Port [8086:1901] (rev 05) (prog-if 00 [Normal decode])
\tControl: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx+
\tStatus: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-
\tIOMMU group: 1
\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0
\tI/O behind bridge: 0000e000-0000efff [size=4K]
\tMemory behind bridge: de000000-df0fffff [size=17M]
\tPrefetchable memory behind bridge: 00000000c0000000-00000000d1ffffff [size=288M]
\tCapabilities: [a0] Express (v2) Root Port (Slot+), MSI 00
\t\tDevCap:\tMaxPayload 256 bytes, PhantFunc 0
\t\t\tExtTag- RBE+
\t\tDevSta:\tCorrErr- NonFatalErr- FatalErr- UnsupReq- AuxPwr- TransPend-
\t\tLnkCap:\tPort #2, Speed 8GT/s, Width x16, ASPM L0s L1, Exit Latency L0s <256ns, L1 <8us
\t\tDevCtl2: Completion Timeout: 50us to 50ms, TimeoutDis-, LTR+, OBFF Via WAKE# ARIFwd+
\tCapabilities: [140 v1] Access Control Services
\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
\tKernel driver in use: pcieport

01:00.0 VGA compatible controller [0300]: NVIDIA Corporation Some GPU [10de:1b80] (rev a1) (prog-if 00 [VGA controller])
\tSubsystem: Micro-Star International Co., Ltd. [MSI] Device [1462:3362]
\tControl: I/O+ Mem+ BusMaster- SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx-
\tStatus: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-
\tIOMMU group: 2
\tRegion 0: Memory at de000000 (32-bit, non-prefetchable) [size=16M]
\tRegion 1: Memory at c0000000 (64-bit, prefetchable) [size=256M]
\tRegion 5: I/O ports at e000 [size=128]
\tCapabilities: [60] Power Management version 3
\t\tFlags: PMEClk- DSI- D1- D2- AuxCurrent=0mA PME(D0-,D1-,D2-,D3hot-,D3cold-)
\t\tStatus: D3 NoSoftRst+ PME-Enable- DSel=0 DScale=0 PME-
\tCapabilities: [78] Express (v2) Legacy Endpoint, MSI 00
\t\tDevCap:\tMaxPayload 256 bytes, PhantFunc 0, Latency L0s unlimited, L1 <64us
\t\t\tExtTag+ AttnBtn- AttnInd- PwrInd- RBE+ FLReset+
\t\tDevCtl:\tCorrErr+ NonFatalErr+ FatalErr+ UnsupReq+
\t\t\tRlxdOrd+ ExtTag+ PhantFunc- AuxPwr- NoSnoop+ FLReset-
\t\tDevSta:\tCorrErr- NonFatalErr- FatalErr- UnsupReq- AuxPwr- TransPend+
\tCapabilities: [100 v1] Virtual Channel
\tCapabilities: [1c0 v1] Address Translation Service (ATS)
\t\tATSCap:\tInvalidate Queue Depth: 00
\t\tATSCtl:\tEnable+, Smallest Translation Unit: 00

"""
"""A root port that isolates, and a GPU below it."""


def at(text: str) -> Address:
    """Return the address."""
    return Address.parse(text)


def host_of(text: str | bytes, name: str = "paste") -> Host:
    """Return what a text shows."""
    return read_text(text.encode() if isinstance(text, str) else text, name=name)


def groups_of(host: Host) -> dict[int, list[str]]:
    """Return the members of each group, their addresses without domain."""
    assert isinstance(host.groups, Known)
    return {number: [str(a)[5:] for a in group.members] for number, group in host.groups.value.items()}


def one(text: str, address: str = "00:01.0") -> Function:
    """Return a function of a text."""
    return host_of(text).functions[at(address)]


def lspci(*details: str, heading: str = "00:01.0 PCI bridge [0604]: Intel Corporation Device [8086:a340]") -> str:
    """Return a function with these details, and the blank line that ends it."""
    return "\n".join([heading, *(f"\t{detail}" for detail in details)]) + "\n\n"


def recorded_text(path: Path) -> bytes:
    """Return the bytes of a recorded text."""
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def without_sizes(value: object) -> object:
    """Return a fact's value without the sizes of virtual functions' BARs, which no configuration space tells."""
    if isinstance(value, Sriov) and value.bars is not None:
        return replace(value, bars=tuple(replace(bar, size=0) for bar in value.bars))
    return value
