"""Which of AMD's GPUs XGMI joins, as ``amd-smi topology`` and ``rocm-smi --showtopo`` print it.

Source of the forms: ROCm ``amdsmi_commands.py`` (``topology``: ``LINK TYPE TABLE``, rows and columns by address) and
``rocm_smi.py`` (``showTypeTopology``: by number; ``showBus``: ``GPU[0] : PCI Bus: 0000:C1:00.0``).

A pair is XGMI however many hops it takes: the hops that both print are 1 for every such pair (ROCm/rocm-systems issue
5763). So these are members of one hive. ``NUMA BW TABLE`` holds the bandwidth of one link and of all of a pair in MB/s,
``50000-100000``, and nothing of pairs that are not joined directly (the same issue; some drivers print ``0-0``). GPUs
that are bound to another driver are in neither, and a virtual function whose hive is not shared shows none: no GPU's
links count as told by them. Partitions of a device (CPX) are rows of their own, whose addresses have the partition for
function number (ROCm/rocm-systems issue 5805): their links are the device's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from atoll.host.gap import Gap
from atoll.host.links.gpus import may_be_amd_gpu
from atoll.host.links.hive import routed
from atoll.host.links.text import address_in
from atoll.host.links.told import ToldLinks, in_order
from atoll.host.model import EndKind, Function, Link, LinkEnd, LinkKind
from atoll.pci.address import Address

__all__ = ["AmdMatrix", "amd_links", "may_tell_amd", "parse_amd", "parse_rate"]

_MARKS = ("link type between two gpus", "link type table")
_RATES = "numa bw table"
_MOST = 256
_MOST_PARALLEL = 64
_MEGABYTE = 1_000_000
_HINT = "record amd-smi topology, or rocm-smi --showbus beside it"


@dataclass(frozen=True, slots=True)
class AmdMatrix:
    """Link types by GPU, as the program calls them: an address, or ``GPU0``."""

    gpus: tuple[str, ...]
    joined: frozenset[tuple[str, str]]
    """Pairs whose type is XGMI, as row and column."""
    places: Mapping[str, Address]
    """Addresses by what the program calls a GPU, as far as the text tells."""
    rates: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """Bytes per second of one link and of all links of a pair, as row and column, where they are told."""


def may_tell_amd(data: bytes) -> bool:
    """Whether a text may hold such a table."""
    return b"LINK TYPE TABLE" in data or b"Link Type between two GPUs" in data


def parse_amd(text: str) -> tuple[AmdMatrix, ...]:
    """Return the tables of a text."""
    places = _places(text)
    rates: dict[tuple[str, str], tuple[int, int]] = {}
    for _, cells in _tables(text, (_RATES,)):
        rates |= {pair: rate for pair, cell in cells.items() if (rate := parse_rate(cell)) is not None}
    found = []
    for columns, cells in _tables(text, _MARKS):
        joined = frozenset(pair for pair, cell in cells.items() if cell == "XGMI")
        known = {name: place for name in columns if (place := places.get(name) or address_in(name)) is not None}
        told = {pair: rate for pair, rate in rates.items() if pair in joined}
        found.append(AmdMatrix(tuple(columns), joined, known, told))
    return tuple(found[:_MOST])


def parse_rate(cell: str) -> tuple[int, int] | None:
    """Return the bytes per second of one link and of all of ``50000-100000``; None for another cell, and for 0."""
    least, dash, most = cell.partition("-")
    if not dash or not all(part.isascii() and part.isdigit() and len(part) < 8 for part in (least, most)):
        return None
    return (int(least) * _MEGABYTE, int(most) * _MEGABYTE) if 0 < int(least) <= int(most) else None


def _tables(text: str, marks: tuple[str, ...]) -> Iterator[tuple[list[str], dict[tuple[str, str], str]]]:
    """Yield the columns of the tables below a mark, and the cells by row and column; one with a GPU twice is none."""
    columns: list[str] | None = None
    cells: dict[tuple[str, str], str] = {}
    for line in (*text.splitlines(), ""):
        words = line.split()
        begins = any(mark in line.lower() for mark in marks)
        if not begins:
            if columns is None or (not words and not columns):
                continue
            if not columns and all(map(_is_gpu, words)):
                columns = words[:_MOST]
                continue
            if columns and words and words[0] in columns:
                cells |= {(words[0], column): cell for column, cell in zip(columns, words[1:], strict=False)}
                continue
        if columns and len(set(columns)) == len(columns):
            yield columns, cells
        columns, cells = [] if begins else None, {}


def _places(text: str) -> dict[str, Address]:
    """``GPU[0] : PCI Bus: 0000:C1:00.0``, by ``GPU0``; what two GPUs are said to have is nobody's."""
    found: dict[str, Address] = {}
    for line in text.splitlines():
        before, told, after = line.partition("PCI Bus:")
        name = before.strip().partition("]")[0].replace("GPU[", "GPU").strip()
        address = address_in(after.strip()) if told and _is_gpu(name) else None
        if address is not None and len(found) < _MOST:
            found.setdefault(name, address)
    values = list(found.values())
    return {name: address for name, address in found.items() if values.count(address) == 1}


def _is_gpu(word: str) -> bool:
    return (word.startswith("GPU") and word[3:].isdigit() and len(word) < 8) or address_in(word) is not None


def amd_links(matrix: AmdMatrix, functions: Mapping[Address, Function], *, source: str) -> ToldLinks:
    """Return the links of pairs that are told, and one of each GPU to a hive whose pairs are not all told."""
    places = matrix.places or _interchangeable(matrix, functions)
    gaps = []
    here = {name: at for name in matrix.gpus if (at := _device(places.get(name), functions)) is not None}
    unnamed = [name for name in matrix.gpus if name not in here]
    if unnamed and matrix.joined:
        which = " ".join(unnamed[:4]) + (" …" if len(unnamed) > 4 else "")
        gaps.append(Gap(f"XGMI links of {which} in {source}", "no record tells which functions they are", _HINT))
    links = _direct(matrix, here, source)
    direct = {
        pair for link in links for pair in ((link.a.function, link.b.function), (link.b.function, link.a.function))
    }
    for hive in _hives(matrix):
        there = sorted({here[name] for name in hive if name in here})
        if len(there) > 1 and any((a, b) not in direct for a in there for b in there if a != b):
            links += routed(there, EndKind.SWITCH, f"XGMI hive of {there[0]}", source)
    return ToldLinks(source, tuple(links), gaps=tuple(gaps))


def _interchangeable(matrix: AmdMatrix, functions: Mapping[Address, Function]) -> Mapping[str, Address]:
    """Where each GPU is joined to each, which is which makes no difference on a host that has as many."""
    able = [address for address, function in sorted(functions.items()) if may_be_amd_gpu(function)]
    whole = all((one, other) in matrix.joined for one in matrix.gpus for other in matrix.gpus if one != other)
    return dict(zip(matrix.gpus, able, strict=True)) if whole and len(able) == len(matrix.gpus) else {}


def _device(place: Address | None, functions: Mapping[Address, Function]) -> Address | None:
    """Return the function at a place, or the one whose partition is called so; None where there is neither."""
    if place is None or place in functions:
        return place
    whole = place._replace(function=0)
    return whole if whole in functions and may_be_amd_gpu(functions[whole]) else None


def _direct(matrix: AmdMatrix, here: Mapping[str, Address], source: str) -> list[Link]:
    """The links of pairs of which both directions tell the same bandwidth: of partitions, those of the widest pair."""
    widest: dict[tuple[Address, Address], tuple[int, int]] = {}
    for (one, other), rate in sorted(matrix.rates.items()):
        if one not in here or other not in here or matrix.rates.get((other, one)) != rate:
            continue
        pair = here[one], here[other]
        if pair[0] < pair[1]:
            widest[pair] = max(widest.get(pair, rate), rate, key=_parallel)
    links: list[Link] = []
    for pair, rate in sorted(widest.items()):
        count = _parallel(rate)
        ends = in_order(*(LinkEnd(EndKind.FUNCTION, address) for address in pair))
        links += [Link(LinkKind.XGMI, *ends, rate[1] // count, source, count == 1)] * count
    return links


def _parallel(rate: tuple[int, int]) -> int:
    """How many links a pair has by the bytes per second of one and of all."""
    least, most = rate
    return most // least if most % least == 0 and most // least <= _MOST_PARALLEL else 1


def _hives(matrix: AmdMatrix) -> list[list[str]]:
    """The sets of GPUs that XGMI joins, one pair after the other."""
    waiting, found = dict.fromkeys(matrix.gpus), []
    peers: dict[str, set[str]] = {}
    for one, other in matrix.joined:
        peers.setdefault(one, set()).add(other)
        peers.setdefault(other, set()).add(one)
    while waiting:
        first = next(iter(waiting))
        members, border = {first}, [first]
        while border:
            new = peers.get(border.pop(), set()) - members
            members |= new
            border += sorted(new)
        for name in members:
            waiting.pop(name, None)
        found.append([name for name in matrix.gpus if name in members])
    return found
