"""Inside the guest: an owner, a process of another user, that does what it is told with devices it was handed.

Orders come as lines of JSON, and each is answered by a line.
"""

from __future__ import annotations

import json
import mmap
import sys
import time
from collections.abc import Callable
from typing import Any

from atoll.errors import AtollError
from atoll.guard.client import Client
from atoll.pci.address import Address
from atoll.vfio import AddressSpace, Device
from lab.gpu.driver import Gpu

MASK = 0xA00148
PREPARATIONS = (0x200, 0x12004C, 0x122204)
IOVA = 0x4000_0000

holder: Client | None = None
spaces: dict[str, AddressSpace] = {}
memory: mmap.mmap | None = None


def devices() -> list[Device]:
    """Return the devices of all clusters taken."""
    return [each for space in spaces.values() for each in space.devices]


def device(name: str) -> Device:
    """Return the device at an address, of any cluster taken."""
    address = Address.parse(name)
    return next(each for each in devices() if each.address == address)


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


def start(tokens: dict[str, int]) -> None:
    """Run on devices, each with its token."""
    for name, token in tokens.items():
        device(name).decode(True)
        device(name).bus_master(True)
        gpu(name).run(token)


def stop() -> None:
    """Run on none of the devices any more."""
    for each in devices():
        each.decode(True)
        Gpu(each.region(0)).run(0)


def mapped(text: str) -> None:
    """Map a page with this text for DMA."""
    global memory
    # Made here: what a fork inherits would be shared with the other owners.
    memory = mmap.mmap(-1, 8192)
    memory[: len(text)] = text.encode()
    space = next(iter(spaces.values()))
    space.map(IOVA, memory)


def told(what: Callable[[Client], object]) -> object:
    """What the holder tells."""
    assert holder is not None
    return what(holder)


def wanted(client: Client) -> list[str]:
    """What the kernel wants back, once the holder has told."""
    client.hear()
    return sorted(client.wanted)


ORDERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "take": lambda order: take(order["of"]),
    "api": lambda order: [space.api for space in spaces.values()],
    "devices": lambda order: [str(each.address) for each in devices()],
    "state": lambda order: told(Client.state),
    "wanted": lambda order: told(wanted),
    "heard": lambda order: told(Client.hear),
    "start": lambda order: start(order["tokens"]),
    "stop": lambda order: stop(),
    "secrets": lambda order: {name: [tried(gpu(name).secret, link) for link in range(6)] for name in order["devices"]},
    "poke": lambda order: {name: open_again(name) for name in order["devices"]},
    "mask": lambda order: device(order["device"]).region(0).read32(MASK),
    "reset": lambda order: reset(order["device"]),
    "try reset": lambda order: tried(reset, order["device"]),
    "decode off": lambda order: device(order["device"]).decode(False),
    "map": lambda order: mapped(order["text"]),
    "dma": lambda order: tried(gpu(order["device"]).dma_read, IOVA, order["size"]),
    "let go": lambda order: device(order["device"]).close(),
}


def live() -> None:
    """Obey until no more orders come."""
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(ORDERS[asked["do"]](asked)), flush=True)
