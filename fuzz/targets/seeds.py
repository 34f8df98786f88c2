"""Documents to begin with that only a program writes."""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64encode
from collections.abc import Callable
from functools import cache

from atoll.host.trees.archive import read_archive
from atoll.host.trees.memory import MemoryTree
from fuzz.target import DATA

__all__ = ["CAPTURES", "capture_tree", "configurations", "few_functions", "nvml_record", "rdma_dump"]

CAPTURES = (
    "linux-6.1-q35-105",
    "linux-6.1-q35-108",
    "linux-7.3-q35-amd-206",
    "linux-6.1-q35-104",
)
"""Small ones of the recorded kernels."""


@cache
def capture_tree(name: str) -> MemoryTree:
    """Return a recorded kernel's files."""
    return read_archive(DATA / "kernel-captures" / f"{name}.tar.xz", name=name)


def few_functions(base: MemoryTree, *kept: str, without: Callable[[str], bool] = lambda path: False) -> MemoryTree:
    """Return a machine's files but for those of functions that are not ``kept``: small, for many inputs a second."""
    tree = MemoryTree(base.name)
    for path in base:
        if set(_ADDRESS.findall(path)) <= {*kept} and not without(path):
            entry = base.entry(path)
            assert entry is not None
            tree.add(path, entry)
    return tree


_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def configurations() -> dict[str, bytes]:
    """Return configuration spaces by path, of the small recorded kernels."""
    found: dict[str, bytes] = {}
    for name in CAPTURES:
        tree = capture_tree(name)
        found |= {f"{name}/{path}": tree.read(path) for path in tree if path.endswith("/config")}
    return found


def rdma_dump() -> bytes:
    """Return a dump as rdma_topo writes one."""
    items = []
    tree = capture_tree(CAPTURES[0])
    for path in tree:
        folder, _, name = path.rpartition("/")
        if name == "config":
            items.append(
                {
                    "realpath": f"/{folder}",
                    "config": b64encode(zlib.compress(tree.read(path))).decode(),
                    "modalias": tree.read(f"{folder}/modalias").decode().strip(),
                    "iommu_group": 1,
                    "numa_node": 0,
                    "vpd": None,
                }
            )
    return json.dumps(items[:4]).encode()


def nvml_record() -> bytes:
    """Return a record as ``atoll.host.nvml`` makes one."""
    links = [{"link": 0, "up": True, "remote": "0000:0F:00.0", "remote_link": 1, "megabytes_per_second": 25781}]
    gpus = [
        {
            "index": number,
            "bus_id": address,
            "uuid": f"GPU-{number}a3c3d8e-0d5c-9b0e-3c4f-0a1b2c3d4e5f",
            "c2c": False,
            "fabric": {"cluster": "00000000-0000-0000-0000-000000000000", "clique": 1} if number else None,
            "links": links if not number else [{"link": 1, "up": True, "remote": "0000:07:00.0", "remote_link": 0}],
        }
        for number, address in enumerate(("0000:07:00.0", "0000:0F:00.0"))
    ]
    return json.dumps({"schema": "atoll.nvml/1", "gpus": gpus}).encode()
