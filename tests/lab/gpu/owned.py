"""GPUs whose owners are clients of ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from atoll.vfio.user.client import Client
from lab.gpu.driver import Gpu
from lab.gpu.gpus import Gpus

FULL = ((0, 0, 1, 0), (0, 1, 2, 0), (1, 1, 2, 1))
"""Three GPUs, each linked to both others."""
V100_CUT = ((0x12004C, 4), (0x122204, 2), (0x200, 1 << 25))
V100_MASK = 0xA00148


class Bar:
    """BAR 0 through a client."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def read32(self, offset: int) -> int:
        return self.client.read32(0, offset)

    def write32(self, offset: int, value: int) -> None:
        self.client.write32(0, offset, value)


class Owner:
    """A GPU with its client, switched on."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.gpu = Gpu(Bar(client))
        self.enable()

    def enable(self) -> None:
        """Memory decoding and bus mastering."""
        self.client.write(7, 4, b"\x06\x00")

    def cut(self, links: int) -> None:
        """Cut links of a V100 at this end."""
        for offset, value in V100_CUT:
            self.client.write32(0, offset, value)
        self.client.write32(0, V100_MASK, links << 16)


@contextmanager
def owned(
    folder: Path,
    *,
    count: int = 3,
    links: tuple[tuple[int, int, int, int], ...] = FULL,
    model: str = "v100",
    attack: float | None = None,
) -> Iterator[tuple[Gpus, list[Owner]]]:
    with (
        Gpus(count=count, links=links, folder=folder, model=model, attack=attack, memory=1 << 20) as gpus,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(Client.connect(path, seconds=20)) for path in gpus.devices]
        yield gpus, [Owner(client) for client in clients]


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Poll until something holds; fail at the deadline."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
