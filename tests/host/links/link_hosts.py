"""Hosts with records of links: GPUs in PCI order, and texts beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st

from atoll.host import read_host
from atoll.host.model import EndKind, Host
from atoll.pci.address import Address
from host.handmade import function_files, tree_of

A = Address.parse
DATA = Path(__file__).resolve().parents[2] / "data" / "links"
A100, H100, V100, GB200 = 0x20B0, 0x2330, 0x1DB1, 0x2941
TU104, A30, GA102 = 0x1E81, 0x20B7, 0x2204
"""One link, four and four."""
BRIDGE = 0x068000


def real(name: str) -> bytes:
    return (DATA / name).read_bytes()


def gpus(count: int) -> list[str]:
    return [f"0000:{0x10 + n:02x}:00.0" for n in range(count)]


def host_of(
    addresses: Sequence[str],
    device: int,
    *texts: bytes | str,
    vendor: int = 0x10DE,
    kind: int = 0x030200,
    switches: Sequence[str] = (),
) -> Host:
    files: dict[str, str | bytes] = {f"records/any name {n}": text for n, text in enumerate(texts)}
    for address in addresses:
        files |= function_files(address, vendor=vendor, device=device, kind=kind)
    for address in switches:
        files |= function_files(address, device=0x22A3, kind=BRIDGE)
    return read_host(tree_of(files))


def far_kinds(host: Host) -> Counter[EndKind]:
    return Counter(link.b.kind for link in host.links)


def pairs(host: Host) -> Counter[tuple[Address | None, Address | None]]:
    return Counter((link.a.function, link.b.function) for link in host.links)


def why(host: Host) -> str:
    return " | ".join(f"{gap.what}: {gap.why}" for gap in host.gaps)


def matrix_of(count: int, links: object, *, word: str = "SYS") -> str:
    assert callable(links)
    lines = ["\x1b[4m\t" + "\t".join(f"GPU{n}" for n in range(count)) + "\tCPU Affinity\tNUMA Affinity\x1b[0m"]
    for a in range(count):
        cells = [" X " if a == b else f"NV{n}" if (n := links(a, b)) else word for b in range(count)]
        lines.append(f"GPU{a}\t" + "\t".join(cells) + "\t0-15\t0")
    return "\n".join(lines) + "\n\nLegend:\n\n  X    = Self\n  NV#  = Connection traversing a bonded set of # NVLinks\n"


NCCL = """<system version="1"><cpu numaid="0" arch="x86_64">
<pci busid="0000:10:00.0" class="0x030200"><gpu dev="0" sm="90">{a}</gpu></pci>
<pci busid="0000:11:00.0" class="0x030200"><gpu dev="1" sm="90">{b}</gpu></pci></cpu></system>"""

_SMI_LINES = (
    *("GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-0)", "GPU 1: NVIDIA H100", "GPU 4097: NVIDIA H100"),
    *("\t Link 0: Remote Device 00000000:10:00.0: Link 3", "\t Link 1: Remote Device FFFFFFFF:FF:FF.0: Link 0"),
    *("\t Link 0: 00000000:11:00.0", "\t Link 0: 26.562 GB/s", "\t Link 1: 25 GB/s", "\t Link 1: <inactive>"),
    *("index, pci.bus_id, uuid", "pci.bus_id, index", "1, 00000000:10:00.0, GPU-1", "00000000:11:00.0, 4097"),
)
SMI_TEXTS = st.lists(
    st.sampled_from(_SMI_LINES) | st.text(alphabet="GPU LinkRemotDvc0123456789:.<>-(\tBs/", max_size=40), max_size=12
).map("\n".join)
"""What nvidia-smi prints of GPUs and links, line by line in any order, with lines that are none of its among them."""
