"""Inside the guest: an owner, a process of another user, that does what it is told with devices it was handed.

Orders come as lines of JSON, and each is answered by a line.
"""

from __future__ import annotations

import json
import mmap
import sys
import time
from typing import Any

from atoll.errors import AtollError
from atoll.guard.client import Client
from atoll.pci.address import Address
from atoll.vfio import AddressSpace
from lab.gpu.driver import Gpu

MASK = 0xA00148
PREPARATIONS = (0x200, 0x12004C, 0x122204)
IOVA = 0x4000_0000

holder: Client | None = None
spaces: dict[str, AddressSpace] = {}
memory = mmap.mmap(-1, 8192)


def device(name: str) -> Any:
    """Return the device at an address, of any cluster taken."""
    address = Address.parse(name)
    return next(d for space in spaces.values() for d in space.devices if d.address == address)


def gpu(name: str) -> Gpu:
    """Return the GPU at an address."""
    return Gpu(device(name).region(0))


def tried(action: Any, *arguments: Any) -> object:
    """What an order brought: text, or the name of its error."""
    try:
        found = action(*arguments)
    except OSError as error:
        return f"errno {error.errno}"
    return found.decode() if isinstance(found, bytes) else found


def take(of: str) -> object:
    """Take a cluster from the holder; return the devices' addresses, or why it was refused."""
    global holder
    holder = holder or Client()
    try:
        spaces[of] = holder.take(of)
    except AtollError as error:
        return {"refused": error.message}
    return [str(d.address) for d in spaces[of].devices]


def open_again(zeroes: str) -> int:
    """Write all that could open links; return the mask."""
    bar = device(zeroes).region(0)
    for offset in (MASK, *PREPARATIONS, MASK):
        bar.write32(offset, 0)
    return int(bar.read32(MASK))


def reset(name: str) -> int:
    """Reset by VFIO; return when that had returned."""
    device(name).reset()
    return time.monotonic_ns()


def mapped(text: str) -> object:
    """Map a page with this text for DMA."""
    memory[: len(text)] = text.encode()
    space = next(iter(spaces.values()))
    space.map(IOVA, memory)
    return True


def run(order: dict[str, Any]) -> object:
    """Carry out one order; return what is answered."""
    match order["do"]:
        case "take":
            return take(order["of"])
        case "api":
            return [space.api for space in spaces.values()]
        case "state":
            assert holder is not None
            return holder.state()
        case "start":
            for name, token in order["tokens"].items():
                device(name).decode(True)
                device(name).bus_master(True)
                gpu(name).run(token)
            return True
        case "secrets":
            return {name: [tried(gpu(name).secret, link) for link in range(6)] for name in order["devices"]}
        case "poke":
            return {name: open_again(name) for name in order["devices"]}
        case "reset":
            return reset(order["device"])
        case "try reset":
            return tried(reset, order["device"])
        case "decode off":
            device(order["device"]).decode(False)
            return True
        case "map":
            return mapped(order["text"])
        case "dma":
            return tried(gpu(order["device"]).dma_read, IOVA, order["size"])
        case "mask":
            return device(order["device"]).region(0).read32(MASK)
        case "stop":
            # Nobody runs on its devices any more.
            for each in [one for space in spaces.values() for one in space.devices]:
                each.decode(True)
                Gpu(each.region(0)).run(0)
            return True
        case "devices":
            return [str(each.address) for space in spaces.values() for each in space.devices]
        case "wanted":
            assert holder is not None
            holder.hear()
            return sorted(holder.wanted)
        case "let go":
            device(order["device"]).close()
            return True
        case "heard":
            assert holder is not None
            return holder.hear()
    return f"no such order: {order}"


for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), flush=True)
