"""Known boards warn of links that are not theirs, and tell none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from atoll.host import read_host
from atoll.host.links.boards import Board, board_gaps, known_boards
from atoll.host.links.chips import nvlinks_at_most
from atoll.host.links.read import read_link_records
from atoll.host.links.told import ToldLinks
from atoll.host.model import Host
from atoll.pci.address import Address
from host.handmade import function_files, tree_of
from host.links.witherspoon import REDBUD, machine

A = Address.parse


def host_of(count: int, device: int, links: Callable[[int, int], int] | None = None) -> Host:
    files: dict[str, str | bytes] = {}
    for n in range(count):
        files |= function_files(f"0000:{0x10 + n:02x}:00.0", device=device)
    if links is not None:
        rows = ["\t".join(["", *(f"GPU{n}" for n in range(count))])]
        for a in range(count):
            cells = ["X" if a == b else f"NV{n}" if (n := links(a, b)) else "SYS" for b in range(count)]
            rows.append("\t".join([f"GPU{a}", *cells]))
        files["records/matrix"] = "\n".join(rows)
    return read_host(tree_of(files))


def warnings(host: Host) -> list[str]:
    return [gap.why for gap in host.gaps if "board:" in gap.why]


def test_boards_use_all_links_of_their_chips() -> None:
    boards = known_boards()
    assert len(boards) >= 12
    for board in boards:
        wiring = board.wiring
        for device in board.gpu_ids:
            assert sum(wiring.peers) + wiring.switch + wiring.cpu == nvlinks_at_most(0x10DE, device), board
        assert sum(board.per_switch) in (0, wiring.switch)
        assert board.sources
        assert len(wiring.peers) < board.gpus
        assert list(wiring.peers) == sorted(wiring.peers, reverse=True)


@pytest.mark.parametrize(
    ("count", "device", "links"),
    [
        (4, 0x20B0, lambda a, b: 4),
        (8, 0x20B2, lambda a, b: 12),
        (4, 0x2330, lambda a, b: 6),
        (8, 0x2335, lambda a, b: 18),
        (8, 0x3182, lambda a, b: 18),
        (8, 0x15F9, lambda a, b: int(a // 4 == b // 4 or a % 4 == b % 4)),
    ],
)
def test_a_board_as_it_should_be(count: int, device: int, links: Callable[[int, int], int]) -> None:
    host = host_of(count, device, links)
    assert len(host.links_told) == count
    assert not warnings(host)


def test_some_gpus_of_a_larger_board_have_its_links() -> None:
    """A guest with four of eight GPUs has as many as another board has, which joins them without switches."""
    assert not warnings(host_of(4, 0x2330, lambda a, b: 18))
    assert not warnings(host_of(4, 0x20B0, lambda a, b: 12))
    (*_, warning) = warnings(host_of(4, 0x2330, lambda a, b: 17))
    assert "board:hgx-h100-4" in warning


def test_links_that_are_not_the_boards() -> None:
    ring = host_of(4, 0x20B0, lambda a, b: 6 if (a - b) % 4 in (1, 3) else 0)
    assert len(ring.links_told) == 4, "what was read stands"
    assert len(warnings(ring)) == 4
    assert "4 and 4 and 4 to other GPUs; what was read shows 6 and 6 to other GPUs" in warnings(ring)[0]


def test_a_board_tells_no_links() -> None:
    host = host_of(8, 0x2330)
    assert not host.links
    assert not host.links_told
    (warning,) = warnings(host)
    assert "board:hgx-h100-8" in warning
    assert "18 to switches" in warning
    assert not warnings(host_of(7, 0x2330)), "no board has seven"
    assert not warnings(host_of(8, 0x26B9)), "no links at all"


@pytest.mark.parametrize("board", [b for b in known_boards() if not b.powernv], ids=lambda board: board.name)
def test_no_board_tells_a_link_or_that_there_is_none(board: Board) -> None:
    """What was unknown stays so: a board says what to look for, and never what is there."""
    for device in board.gpu_ids:
        silent = host_of(board.gpus, device)
        assert not silent.links
        assert not silent.links_told
        assert any(f"board:{board.name} " in warning for warning in warnings(silent))
        apart = host_of(board.gpus, device, lambda a, b: 0)
        assert not apart.links_told, "a matrix without NVLinks does not tell that there are none"
        bare = read_link_records({}, silent.functions)
        assert not bare.sources


@pytest.mark.parametrize(("device", "word"), [(0x2330, "-R"), (0x2901, "-q -x"), (0x3182, "-q -x")])
def test_switches_that_are_no_functions_are_told_by_the_fabric(device: int, word: str) -> None:
    """``nvlink -R`` names no end there."""
    (gap,) = [gap for gap in host_of(8, device).gaps if "board:" in gap.why]
    assert word in gap.hint


def test_virtual_functions_are_no_gpus_of_a_board() -> None:
    host = host_of(8, 0x20B0)
    first = A("0000:10:00.0")
    virtual = replace(host.functions[first], address=A("0000:10:00.4"), physical_function=first)
    functions = {**host.functions, virtual.address: virtual}
    (gap,) = board_gaps(functions, ToldLinks(""), powernv=False)
    assert "board:hgx-a100-8" in gap.why


def test_power_machines() -> None:
    assert not warnings(read_host(tree_of(machine(REDBUD))))
