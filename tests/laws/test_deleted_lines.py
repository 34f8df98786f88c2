"""What a record lacks is never safe: words, lines, capabilities taken out of recorded texts, and texts told twice."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random

import pytest

from atoll.controls.present import present
from atoll.errors import InputError
from atoll.fabric.answer import Answer, Policy
from atoll.fabric.topology import Topology
from atoll.host.model import Host
from atoll.host.records.content import read_record
from atoll.host.together import read_together
from atoll.isolation.reach import Reach
from atoll.pci.address import Address

DATA = Path(__file__).parents[1] / "data" / "records"
RECORDS = {
    **{folder.name: (*folder.glob("lspci.*"), *folder.glob("iommu_groups.txt")) for folder in DATA.glob("machines/*")},
    **{path.name: (path,) for path in DATA.glob("lspci-of-captures/*10[3-5].txt.xz")},
}
DECIDES = re.compile(rb"ACS|Access Control|Express|Bus:|[Gg]roup|^\S+ .*\[[0-9a-f]{4}\]")
"""Lines of which more rests than of others."""
ENDPOINTS = 24
DELETIONS = 8
Open = frozenset[tuple[Address, str]]


@cache
def texts(name: str) -> tuple[bytes, ...]:
    return tuple(
        lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes() for path in RECORDS[name]
    )


def host_of(parts: Sequence[bytes]) -> Host:
    return read_together(tuple(read_record(data, name=f"text {number}") for number, data in enumerate(parts)))


def openings(host: Host) -> tuple[Host, Open]:
    """Return who may reach whom, pass for whom (``as``), and reach memory that is not mapped for it."""
    topology = Topology(host)
    reach = Reach(topology, present(host), Policy.STRICT)
    found: set[tuple[Address, str]] = set()
    for source in topology.endpoints[:ENDPOINTS]:
        if reach.memory(source).answer > Answer.IOMMU:
            found.add((source, "memory"))
        for target in topology.endpoints[:ENDPOINTS]:
            if source != target and reach.answer(source, target).answer > Answer.IOMMU:
                found.add((source, str(target)))
            if source != target and reach.identity(source, target).answer > Answer.IOMMU:
                found.add((source, f"as {target}"))
    return host, frozenset(found)


@cache
def whole(name: str) -> tuple[Host, Open]:
    return openings(host_of(texts(name)))


def closed(name: str, parts: Sequence[bytes]) -> set[tuple[Address, str]]:
    """Return what is open in a record and no more in texts made of it, of functions that both show."""
    host, left = openings(host_of(parts))
    ends = frozenset(Topology(host).endpoints[:ENDPOINTS])
    shown = {"memory", *map(str, ends), *(f"as {address}" for address in ends)}
    return {(source, target) for source, target in whole(name)[1] - left if source in ends and target in shown}


def deletions(rng: Random, text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield what is taken out of a text, and what is left: a line, a word, a line's end, or a line with all below."""
    lines = text.splitlines(keepends=True)
    deciding = [at for at, line in enumerate(lines) if DECIDES.search(line)] or [0]
    while True:
        at = rng.choice((rng.randrange(len(lines)), rng.choice(deciding)))
        line, end = lines[at], at + 1
        depth = len(line) - len(line.lstrip())
        way = rng.randrange(4)
        rest = b""
        if way == 1:
            words = line.split(b" ")
            del words[rng.randrange(len(words))]
            rest = b" ".join(words).rstrip(b"\n") + b"\n"
        elif way == 2:
            rest = line[: rng.randrange(1, len(line) + 1)].rstrip(b"\n") + b"\n"
        elif way == 3 and depth:
            while end < len(lines) and lines[end].strip() and len(lines[end]) - len(lines[end].lstrip()) > depth:
                end += 1
        yield b"".join(lines[at:end]), b"".join((*lines[:at], rest, *lines[end:]))


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_what_is_taken_out_of_a_text_is_not_safe(name: str) -> None:
    rng, parts = Random(name), texts(name)
    for _ in range(DELETIONS):
        number = rng.randrange(len(parts))
        gone, left = next(deletions(rng, parts[number]))
        try:
            found = closed(name, (*parts[:number], left, *parts[number + 1 :]))
        except InputError:
            continue
        assert not found, (gone, sorted(found)[:4])


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_a_text_told_twice_or_in_part_beside_itself_closes_nothing(name: str) -> None:
    rng, parts = Random(name), texts(name)
    assert openings(host_of((*parts, *parts)))[1] == whole(name)[1]
    for gone, left in (next(deletions(rng, parts[0])) for _ in range(2)):
        for beside in ((*parts, left), (left, *parts)):
            try:
                found = closed(name, beside)
            except InputError:
                continue
            assert not found, (gone, sorted(found)[:4])


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_the_order_of_functions_closes_nothing(name: str) -> None:
    first, *others = texts(name)
    blocks = re.split(rb"\n[ \t]*\n", first.strip(b"\n"))
    Random(name).shuffle(blocks)
    assert not closed(name, (b"\n\n".join(blocks) + b"\n", *others))


def test_something_is_open_and_something_closed() -> None:
    """Otherwise the laws say nothing."""
    for name in RECORDS:
        host, found = whole(name)
        count = min(ENDPOINTS, len(Topology(host).endpoints))
        assert 0 < len(found) < count + 2 * count * (count - 1)
