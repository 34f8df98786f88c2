"""What boards are known to wire, as a second opinion on what records say: it warns, and never tells a link.

One file a board in ``atoll/host/boards``, each with its sources: ``gpu_ids`` and how many ``gpus``; of each GPU,
``peers``: numbers of links to other GPUs, ``switch`` and ``cpu``: to switches and to CPUs, ``per_switch``: to each
switch that is a PCI function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from atoll.host.gap import Gap, GapKind
from atoll.host.links.doubts import FABRIC
from atoll.host.links.gpus import nvidia_gpus
from atoll.host.links.told import ToldLinks
from atoll.host.model import EndKind, Function, Link, LinkKind
from atoll.pci.address import Address

__all__ = ["Board", "board_gaps", "known_boards"]


@dataclass(frozen=True, slots=True)
class Wiring:
    """How many NVLinks of a GPU lead where; most first."""

    peers: tuple[int, ...] = ()
    switch: int = 0
    cpu: int = 0

    def __str__(self) -> str:
        parts = [f"{' and '.join(map(str, self.peers))} to other GPUs"] if self.peers else []
        parts += [f"{self.switch} to switches"] if self.switch else []
        parts += [f"{self.cpu} to a CPU"] if self.cpu else []
        return ", ".join(parts) or "none"


@dataclass(frozen=True, slots=True)
class Board:
    """A machine or baseboard whose wiring is known."""

    name: str
    title: str
    sources: tuple[str, ...]
    gpu_ids: frozenset[int]
    gpus: int
    wiring: Wiring
    per_switch: tuple[int, ...] = ()
    powernv: bool = False


def known_boards() -> tuple[Board, ...]:
    """Return the boards of the data files, in order of their names."""
    import tomllib
    from importlib.resources import files

    found = []
    folder = files("atoll.host") / "boards"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".toml"):
            continue
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        found.append(
            Board(
                file.name.removesuffix(".toml"),
                data["title"],
                tuple(data["sources"]),
                frozenset(int(text, 16) for text in data["gpu_ids"]),
                data["gpus"],
                Wiring(tuple(data.get("peers", ())), data.get("switch", 0), data.get("cpu", 0)),
                tuple(data.get("per_switch", ())),
                data.get("powernv", False),
            )
        )
    return tuple(found)


def board_gaps(functions: Mapping[Address, Function], told: ToldLinks, *, powernv: bool) -> tuple[Gap, ...]:
    """Return what is odd about the links of a host whose GPUs are those of a known board.

    Either they are not told, and the board is named that the host looks like, or those that are told are not the
    board's: a record of another machine, links that are down, or a board that only looks like it.
    """
    gpus = nvidia_gpus(functions)
    if len(gpus) < 2:
        return ()
    ids = {functions[address].device for address in gpus}
    fitting = [b for b in known_boards() if ids <= b.gpu_ids and b.powernv is powernv]
    boards = [b for b in fitting if len(gpus) == b.gpus]
    if not boards:
        return ()
    # In a guest or a container there are some of a board's GPUs, and the links of each to the switches are as many.
    wirings = [*boards, *(b for b in fitting if b.gpus > len(gpus) and b.wiring.switch)]
    names = " or ".join(f"board:{board.name} ({board.title})" for board in boards)
    wired = " or ".join(dict.fromkeys(str(board.wiring) for board in boards))
    silent = sorted(address for address in gpus if address not in told.told)
    odd = {
        address: shown
        for address in gpus
        if address in told.told and (shown := _odd(address, told.links, wirings)) is not None
    }
    gaps = []
    if silent:
        what = f"NVLinks of {silent[0]}" if len(silent) == 1 else f"NVLinks of {len(silent)} GPUs ({silent[0]} first)"
        why = f"the host has the GPUs of {names}, where each has {wired}; no record tells all links here"
        hidden = all(board.wiring.switch and not board.per_switch for board in boards)
        gaps.append(
            Gap(what, why, FABRIC if hidden else "record nvidia-smi nvlink -R with all links up", GapKind.BOARD)
        )
    for address, shown in sorted(odd.items()):
        why = f"the host has the GPUs of {names}, where each has {wired}; what was read shows {shown}"
        hint = "find out whether the record is of this machine as it is now"
        gaps.append(Gap(f"NVLinks of {address}", why, hint, GapKind.BOARD))
    return tuple(gaps)


def _odd(address: Address, links: tuple[Link, ...], boards: list[Board]) -> str | None:
    """What was read of a GPU where it is no board's wiring; None where it is one's."""
    peers: Counter[Address | None] = Counter()
    kinds: Counter[EndKind] = Counter()
    for link in links:
        for near, far in ((link.a, link.b), (link.b, link.a)):
            if near.function != address or link.kind is not LinkKind.NVLINK:
                continue
            kinds[far.kind] += 1
            if far.kind in (EndKind.FUNCTION, EndKind.SWITCH):
                peers[far.function] += 1
    to_switches = kinds[EndKind.SWITCH]
    counts = tuple(sorted(peers.values(), reverse=True))
    shown = Wiring(() if to_switches else counts, to_switches, kinds[EndKind.CPU])
    for board in boards:
        by_switch = not to_switches or None in peers or not board.per_switch or counts == board.per_switch
        if shown == board.wiring and by_switch and not kinds[EndKind.UNKNOWN]:
            return None
    named = f" ({' and '.join(map(str, counts))})" if to_switches and None not in peers else ""
    return f"{shown}{named}"
