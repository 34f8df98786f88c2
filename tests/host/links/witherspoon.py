"""Device trees of IBM AC922 machines, one socket, made the way their firmware makes them.

Source: skiboot ``platforms/astbmc/witherspoon.c`` (peers of Redbud and Sequoia), ``hw/npu2.c`` (NPU nodes).
"""

from __future__ import annotations

from host.handmade import Link, cells, function_files

__all__ = ["GPUS", "REDBUD", "SEQUOIA", "machine"]

GPUS = ("0004:04:00.0", "0004:05:00.0", "0004:06:00.0")
REDBUD = (("g1", "n0", "g1", "n1", "g1", "n2"), ("g0", "n3", "g0", "n4", "g0", "n5"))
SEQUOIA = (
    ("g1", "n0", "g2", "g2", "g1", "n1"),
    ("g0", "n2", "g2", "g2", "g0", "n3"),
    ("g1", "g0", "g1", "n4", "g0", "n5"),
)

_BASE = "sys/firmware/devicetree/base"
_XSCOM = "xscom@603fc00000000/npu@5011000"
_PHB = "pciex@600c3c0000000"
_NPU_PHB = "pciex@6030200000000"


def machine(peers: tuple[tuple[str, ...], ...], *, of_node: bool = True) -> dict[str, str | bytes]:
    """Return the files of a machine whose GPUs have these peers; ``of_node``: sysfs links the nodes."""
    files: dict[str, str | bytes] = {
        "proc/device-tree": Link("/sys/firmware/devicetree/base"),
        f"{_BASE}/compatible": b"ibm,powernv\0ibm,p9-openbmc\0",
        f"{_BASE}/{_XSCOM}/compatible": b"ibm,power9-npu\0",
        f"{_BASE}/{_XSCOM}/phandle": cells(0x700),
        f"{_BASE}/{_PHB}/ibm,opal-phbid": cells(0, 4),
        f"{_BASE}/{_NPU_PHB}/ibm,opal-phbid": cells(0, 7),
        f"{_BASE}/{_NPU_PHB}/ibm,npcq": cells(0x700),
        "proc/version": "Linux version 5.4.0-42-generic (x@y) (gcc) #46 SMP\n",
    }
    phandles = {f"g{n}": 0x100 + n for n in range(len(peers))} | {f"n{n}": 0x200 + n for n in range(6)}
    for gpu, row in enumerate(peers):
        node = f"{_PHB}/pci@0/gpu@{gpu}"
        bus = int(GPUS[gpu][5:7], 16)
        bricks = [name for name in row if name.startswith("n")]
        files |= function_files(GPUS[gpu])
        files |= {
            f"{_BASE}/{node}/phandle": cells(phandles[f"g{gpu}"]),
            f"{_BASE}/{node}/reg": cells(bus << 16, 0, 0, 0, 0),
            f"{_BASE}/{node}/ibm,npu": cells(*(phandles[name] for name in bricks)),
            f"{_BASE}/{node}/ibm,nvlink-peers": cells(*(phandles[name] for name in row)),
        }
        if of_node:
            files[f"sys/devices/pci0004:{bus:02x}/{GPUS[gpu]}/of_node"] = Link(
                f"../../../firmware/devicetree/base/{node}"
            )
        for name in bricks:
            files |= _brick(int(name[1:]), gpu, phandles)
    return files


def _brick(number: int, gpu: int, phandles: dict[str, int]) -> dict[str, str | bytes]:
    node = f"{_NPU_PHB}/pci@{number}"
    link = f"{_XSCOM}/link@{number}"
    address = f"0007:00:{gpu:02x}.{number % 8}"
    devfn = gpu << 3 | number % 8
    return {
        **function_files(address, vendor=0x1014, device=0x04EA, kind=0x068001),
        f"{_BASE}/{node}/phandle": cells(phandles[f"n{number}"]),
        f"{_BASE}/{node}/reg": cells(devfn << 8, 0, 0, 0, 0),
        f"{_BASE}/{node}/ibm,gpu": cells(phandles[f"g{gpu}"]),
        f"{_BASE}/{node}/ibm,nvlink": cells(0x300 + number),
        f"{_BASE}/{link}/compatible": b"ibm,npu-link\0",
        f"{_BASE}/{link}/phandle": cells(0x300 + number),
        f"{_BASE}/{link}/ibm,npu-link-index": cells(number),
        f"{_BASE}/{link}/ibm,npu-group-id": cells(gpu),
        f"{_BASE}/{link}/ibm,link-speed": cells(0x6, 0xAEA7D0),
        f"{_BASE}/{link}/nvidia,link-speed": cells(8),
    }
