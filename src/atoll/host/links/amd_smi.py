"""Which of AMD's GPUs XGMI joins, as ``amd-smi topology`` and ``rocm-smi --showtopo`` print it.

Source of the forms: ROCm ``amdsmi_commands.py`` (``topology``: ``LINK TYPE TABLE``, rows and columns by address) and
``rocm_smi.py`` (``showTypeTopology``: by number; ``showBus``: ``GPU[0] : PCI Bus: 0000:C1:00.0``).

A pair is XGMI however many hops it takes: the hops that both print are 1 for every such pair (ROCm/rocm-systems issue
5763). So these are members of one hive, and not which links there are. GPUs that are bound to another driver are in
neither, and a virtual function whose hive is not shared shows none: no GPU's links count as told by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atoll.host.links.gpus import may_be_amd_gpu
from atoll.host.links.hive import routed
from atoll.host.model import EndKind, Function, Gap
from atoll.host.told import ToldLinks
from atoll.pci.address import Address

__all__ = ["AmdMatrix", "amd_links", "may_tell_amd", "parse_amd"]

_MARKS = ("link type between two gpus", "link type table")
_MOST = 256
_HINT = "record amd-smi topology, or rocm-smi --showbus beside it"


@dataclass(frozen=True, slots=True)
class AmdMatrix:
    """Link types by GPU, as the program calls them: an address, or ``GPU0``."""

    gpus: tuple[str, ...]
    joined: frozenset[tuple[str, str]]
    """Pairs whose type is XGMI, as row and column."""
    places: Mapping[str, Address]
    """Addresses by what the program calls a GPU, as far as the text tells."""


def may_tell_amd(data: bytes) -> bool:
    """Whether a text may hold such a table."""
    return b"LINK TYPE TABLE" in data or b"Link Type between two GPUs" in data


def parse_amd(text: str) -> tuple[AmdMatrix, ...]:
    """Return the tables of a text."""
    found: list[AmdMatrix] = []
    places = _places(text)
    columns: list[str] | None = None
    joined: set[tuple[str, str]] = set()
    for line in (*text.splitlines(), ""):
        words = line.split()
        if any(mark in line.lower() for mark in _MARKS):
            found += _matrix(columns, joined, places)
            columns, joined = [], set()
        elif columns is None or (not words and not columns):
            continue
        elif not columns and all(map(_is_gpu, words)):
            columns = words[:_MOST]
        elif columns and words and words[0] in columns:
            joined |= {(words[0], column) for column, cell in zip(columns, words[1:], strict=False) if cell == "XGMI"}
        else:
            found += _matrix(columns, joined, places)
            columns = None
    return tuple(found[:_MOST])


def _matrix(
    columns: list[str] | None, joined: set[tuple[str, str]], places: Mapping[str, Address]
) -> tuple[AmdMatrix, ...]:
    if not columns or len(set(columns)) != len(columns):
        return ()
    known = {name: place for name in columns if (place := places.get(name) or _address(name)) is not None}
    return (AmdMatrix(tuple(columns), frozenset(joined), known),)


def _places(text: str) -> dict[str, Address]:
    """``GPU[0] : PCI Bus: 0000:C1:00.0``, by ``GPU0``; what two GPUs are said to have is nobody's."""
    found: dict[str, Address] = {}
    for line in text.splitlines():
        before, told, after = line.partition("PCI Bus:")
        name = before.strip().partition("]")[0].replace("GPU[", "GPU").strip()
        address = _address(after.strip()) if told and _is_gpu(name) else None
        if address is not None and len(found) < _MOST:
            found.setdefault(name, address)
    values = list(found.values())
    return {name: address for name, address in found.items() if values.count(address) == 1}


def _is_gpu(word: str) -> bool:
    return (word.startswith("GPU") and word[3:].isdigit() and len(word) < 8) or _address(word) is not None


def _address(word: str) -> Address | None:
    try:
        return Address.parse(word.lower())
    except ValueError:
        return None


def amd_links(matrix: AmdMatrix, functions: Mapping[Address, Function], *, source: str) -> ToldLinks:
    """Return a link of each GPU to its hive."""
    places = dict(matrix.places)
    whole = all((one, other) in matrix.joined for one in matrix.gpus for other in matrix.gpus if one != other)
    if not places and whole:
        # Each is joined to each: which is which makes no difference where the host has as many.
        able = [address for address, function in sorted(functions.items()) if may_be_amd_gpu(function)]
        places = dict(zip(matrix.gpus, able, strict=True)) if len(able) == len(matrix.gpus) else {}
    gaps = []
    unnamed = [name for name in matrix.gpus if places.get(name) not in functions]
    if unnamed and matrix.joined:
        which = " ".join(unnamed[:4]) + (" …" if len(unnamed) > 4 else "")
        gaps.append(Gap(f"XGMI links of {which} in {source}", "no record tells which functions they are", _HINT))
    links = [
        link
        for hive in _hives(matrix)
        if len(there := sorted(places[name] for name in hive if places.get(name) in functions)) > 1
        for link in routed(there, EndKind.SWITCH, f"XGMI hive of {there[0]}", source)
    ]
    return ToldLinks(source, tuple(links), gaps=tuple(gaps))


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
