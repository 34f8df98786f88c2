"""Records beside a twin's kernel files: what its root complexes do, and what vendor tools would print."""

from __future__ import annotations

import json

from atoll.pci.address import Address
from atoll.twin.spec import HostBridge, Link

__all__ = ["nvlink_records", "root_complex"]

_MODEL = "Tesla V100-SXM2-16GB"


def root_complex(bridges: tuple[HostBridge, ...], source: str) -> tuple[str, bytes]:
    """Return the record that declares how root complexes route between their root ports."""
    document = {
        "schema": "atoll.root-complex/1",
        "source": source,
        "host_bridges": {bridge.name: str(bridge.routing) for bridge in bridges},
    }
    return "records/root-complex.json", (json.dumps(document, indent=1) + "\n").encode()


def nvlink_records(gpus: tuple[Address, ...], links: tuple[Link, ...]) -> tuple[tuple[str, bytes], ...]:
    """Return what ``nvidia-smi`` would print of GPUs and their links: ``nvlink -R``, ``-L``, ``--query-gpu``.

    The layout of ``nvlink -R`` is that of a record from an H100 machine (NCCL issue 1182).
    """
    remote = ""
    for index, gpu in enumerate(gpus):
        remote += f"GPU {index}: {_MODEL}\n"
        ends = {link.a_number: (link.b, link.b_number) for link in links if link.a == gpu}
        ends |= {link.b_number: (link.a, link.a_number) for link in links if link.b == gpu}
        for number, (far, far_number) in sorted(ends.items()):
            remote += f"         Link {number}: Remote Device 0000{str(far).upper()}: Link {far_number}\n"
    listing = "".join(f"GPU {index}: {_MODEL} (UUID: {_uuid(index)})\n" for index in range(len(gpus)))
    query = "index, pci.bus_id, uuid\n"
    query += "".join(f"{index}, 0000{str(gpu).upper()}, {_uuid(index)}\n" for index, gpu in enumerate(gpus))
    readme = (
        "Declared by the twin: how many links join two GPUs is taken from a real machine's nvidia-smi topo -m;\n"
        "the numbers of the links and the identifiers are invented.\n"
    )
    return (
        ("records/nvidia-smi-nvlink-R.txt", remote.encode()),
        ("records/nvidia-smi-L.txt", listing.encode()),
        ("records/nvidia-smi-query-gpu.csv", query.encode()),
        ("records/README.txt", readme.encode()),
    )


def _uuid(index: int) -> str:
    return f"GPU-{0x5EED0000 + index:08x}-a7e1-1100-0000-{index:012x}"
