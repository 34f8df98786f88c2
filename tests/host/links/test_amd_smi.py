"""XGMI as ``amd-smi topology`` and ``rocm-smi --showtopo`` print it."""

from __future__ import annotations

import json

import pytest

from atoll.host.links.read import is_link_record, read_link_records
from atoll.host.links.told import ToldLinks
from atoll.host.model import EndKind, Function, LinkKind
from atoll.host.records.content import read_record
from atoll.pci.address import Address
from host.records.paste import host_of

_PLACES = ("c1:00.0", "c6:00.0", "c9:00.0", "ce:00.0")


def _functions(places: tuple[str, ...] = _PLACES, more: str = "") -> dict[Address, Function]:
    lines = "".join(f"{place} Processing accelerators [1200]: AMD Some GPU [1002:740c]\n" for place in places)
    return dict(host_of(lines + more).functions)


def _table(names: list[str], joined: set[frozenset[int]], *, own: str) -> str:
    rows = [
        " ".join(
            [name, *(own if a == b else "XGMI" if frozenset((a, b)) in joined else "PCIE" for b in range(len(names)))]
        )
        for a, name in enumerate(names)
    ]
    return "\n".join(["       " + "  ".join(names), *rows]) + "\n"


def _amd_smi(joined: set[frozenset[int]]) -> str:
    names = [f"0000:{place}" for place in _PLACES]
    hops = _table(names, set(), own="0").replace("PCIE", "1")
    return f"HOPS TABLE:\n{hops}\nLINK TYPE TABLE:\n{_table(names, joined, own='SELF')}\nNUMA BW TABLE:\n"


def _json(joined: set[frozenset[int]], places: tuple[str, ...] = _PLACES) -> str:
    def link(a: int, b: int) -> dict[str, object]:
        kind = "SELF" if a == b else "XGMI" if frozenset((a, b)) in joined else "PCIE"
        return {"gpu": b, "bdf": f"0000:{places[b]}", "weight": 15, "link_status": "ENABLED", "link_type": kind}

    numbers = range(len(places))
    gpus = [{"gpu": a, "bdf": f"0000:{places[a]}", "links": [link(a, b) for b in numbers]} for a in numbers]
    return json.dumps(gpus, indent=4)


def _rocm(joined: set[frozenset[int]], bus: tuple[str, ...] = ()) -> str:
    names = [f"GPU{number}" for number in range(4)]
    text = f"====== Link Type between two GPUs ======\n{_table(names, joined, own='0')}\n====== Numa Nodes ======\n"
    return text + "".join(f"GPU[{n}]\t\t: PCI Bus: 0000:{place.upper()}\n" for n, place in enumerate(bus))


def _told(text: str, functions: dict[Address, Function]) -> ToldLinks:
    data = (text if text.startswith("[") else f"Here is mine:\n```\n{text}```\nWhat now?\n").encode()
    assert is_link_record(data)
    (source,) = read_link_records({"topo.txt": data}, functions).sources
    return source


def _hives(told: ToldLinks) -> set[frozenset[str]]:
    hives: dict[str, set[str]] = {}
    for link in told.links:
        assert link.kind is LinkKind.XGMI
        ends = (link.a, link.b)
        (near,) = (end for end in ends if end.kind is EndKind.FUNCTION)
        (far,) = (end for end in ends if end.kind is EndKind.SWITCH)
        hives.setdefault(far.name, set()).add(str(near.function)[5:])
    return {frozenset(members) for members in hives.values()}


_ALL = {frozenset((a, b)) for a in range(4) for b in range(4) if a != b}
_TWO = {frozenset((0, 1)), frozenset((2, 3))}


@pytest.mark.parametrize("joined", [_ALL, _TWO])
@pytest.mark.parametrize("form", ["amd-smi", "amd-smi --json", "rocm-smi with buses"])
def test_gpus_that_xgmi_joins_are_of_one_hive(joined: set[frozenset[int]], form: str) -> None:
    forms = {"amd-smi": _amd_smi(joined), "amd-smi --json": _json(joined)}
    text = forms.get(form, _rocm(joined, _PLACES))
    told = _told(text, _functions())
    whole = {frozenset(_PLACES)} if joined is _ALL else {frozenset(_PLACES[:2]), frozenset(_PLACES[2:])}
    assert _hives(told) == whole
    assert not told.gaps
    assert not told.told, "which links there are, and whether there are more, it does not tell"


@pytest.mark.parametrize(
    ("old", "new"),
    [('"gpu": 1,', '"gpu": true,'), ("0000:c6", "nowhere"), ("0000:c6", "0000:c1"), ('"links": [', '"links": [0, ')],
)
def test_json_that_is_damaged_is_a_gap(old: str, new: str) -> None:
    text = _json(_ALL)
    assert old in text
    told = _told(text.replace(old, new), _functions())
    assert not told.links
    assert "amd-smi" in told.gaps[0].why
    assert read_record(_json(_ALL).encode(), name="topology.json").links


def _rocm_json(joined: set[frozenset[int]], bus: tuple[str, ...] = ()) -> str:
    pairs = {
        f"(Topology) Link type between DRM devices {a} and {b}": "XGMI" if frozenset((a, b)) in joined else "PCIE"
        for a in range(4)
        for b in range(a + 1, 4)
    }
    cards = {f"card{n}": {"(Topology) Numa Node": "0", "PCI Bus": f"0000:{p.upper()}"} for n, p in enumerate(bus)}
    return json.dumps(cards | {"system": pairs | {"(Topology) Hops between DRM devices 0 and 1": "1"}})


@pytest.mark.parametrize("bus", [(), _PLACES])
def test_json_of_rocm_smi(bus: tuple[str, ...]) -> None:
    record = read_record(_rocm_json(_ALL, bus).encode(), name="topo.json")
    assert record.host is None
    (source,) = read_link_records({"topo.json": record.links[0]}, _functions()).sources
    assert _hives(source) == {frozenset(_PLACES)}
    assert not source.told
    assert not source.gaps


def test_json_of_rocm_smi_names_gpus_by_number() -> None:
    pair = {frozenset((0, 2))}
    (by_bus,) = read_link_records({"x": _rocm_json(pair, _PLACES).encode()}, _functions()).sources
    assert _hives(by_bus) == {frozenset((_PLACES[0], _PLACES[2]))}
    (alone,) = read_link_records({"x": _rocm_json(pair).encode()}, _functions()).sources
    assert not alone.links
    assert "which functions they are" in alone.gaps[0].why


@pytest.mark.parametrize(("old", "new"), [("devices 0 and 1", "devices 0 or 1"), ("0000:C6", "0000:C1"), ("C6", "x")])
def test_json_of_rocm_smi_that_is_damaged_is_a_gap(old: str, new: str) -> None:
    text = _rocm_json(_ALL, _PLACES)
    assert old in text
    (source,) = read_link_records({"x": text.replace(old, new).encode()}, _functions()).sources
    assert not source.links
    assert source.gaps


def test_numbers_alone_do_where_each_is_joined_to_each() -> None:
    assert _hives(_told(_rocm(_ALL), _functions())) == {frozenset(_PLACES)}
    more = _told(_rocm(_ALL), _functions(more="0a:00.0 VGA compatible controller [0300]: AMD Other [1002:1638]\n"))
    assert not more.links
    assert "no record tells which functions they are" in more.gaps[0].why
    two = _told(_rocm(_TWO), _functions())
    assert not two.links, "which two?"
    assert "--showbus" in two.gaps[0].hint


@pytest.mark.parametrize("form", ["tables", "json"])
def test_bandwidths_tell_which_pairs_are_joined_directly_and_by_how_many(form: str) -> None:
    def told(joined: set[frozenset[int]], rates: dict[frozenset[int], str]) -> ToldLinks:
        rows = _table([f"0000:{place}" for place in _PLACES], set(), own="N/A").splitlines()
        cells = [[rates.get(frozenset((a, b)), "N/A") if a != b else "N/A" for b in range(4)] for a in range(4)]
        table = "\n".join([rows[0], *(f"{row.split()[0]} {' '.join(cells[a])}" for a, row in enumerate(rows[1:]))])
        if form == "tables":
            return _told(f"{_amd_smi(joined)}{table}\n", _functions())
        gpus = json.loads(_json(joined))
        for a, gpu in enumerate(gpus):
            for b, link in enumerate(gpu["links"]):
                link["bandwidth"] = cells[a][b]
        return _told(json.dumps(gpus), _functions())

    whole = told(_ALL, dict.fromkeys(_ALL, "50000-100000"))
    assert len(whole.links) == 12, "two of each pair, and no hive beside them"
    assert {link.bytes_per_second for link in whole.links} == {50_000_000_000}
    assert {link.b.kind for link in whole.links} == {EndKind.FUNCTION}
    assert not any(link.pairing_told for link in whole.links)
    assert not whole.told, "a GPU may have more"
    ring = told(_ALL, {frozenset((0, 1)): "50000-75000", frozenset((2, 3)): "0-0"})
    (direct,) = (link for link in ring.links if link.b.kind is EndKind.FUNCTION)
    assert (direct.bytes_per_second, direct.pairing_told) == (75_000_000_000, True), "no whole number of links"
    assert {str(link.a.function)[5:] for link in ring.links if link.b.kind is EndKind.SWITCH} == set(_PLACES)
    assert not told(set(), dict.fromkeys(_ALL, "50000-50000")).links, "over PCIe"


def test_partitions_are_their_device() -> None:
    """As ``amd-smi`` shows them: a row each, whose address has the partition for function number."""
    rows = [f"0000:{bus}:00.{partition}" for bus in ("c1", "c6") for partition in range(4)]
    everyone = {frozenset((a, b)) for a in range(8) for b in range(8) if a != b}
    links = f"LINK TYPE TABLE:\n{_table(rows, everyone, own='SELF')}"
    rates = [[("N/A" if a[:7] == b[:7] else "50000-100000") for b in rows] for a in rows]
    bandwidths = "\n".join(
        ["   " + " ".join(rows), *(" ".join([a, *cells]) for a, cells in zip(rows, rates, strict=True))]
    )
    functions = _functions(_PLACES[:2])
    told = _told(f"{links}\nNUMA BW TABLE:\n{bandwidths}\n", functions)
    assert [(link.a.function, link.b.function, link.bytes_per_second) for link in told.links] == [
        (Address.parse("c1:00.0"), Address.parse("c6:00.0"), 50_000_000_000)
    ] * 2
    assert not told.gaps
    routed = _told(links, functions)
    assert {link.a.function for link in routed.links} == functions.keys()
    assert {link.b.kind for link in routed.links} == {EndKind.SWITCH}
    elsewhere = _told(links, _functions(_PLACES[2:]))
    assert not elsewhere.links
    assert "no record tells which functions" in elsewhere.gaps[0].why


def test_paths_over_pcie_and_cut_tables_join_nobody() -> None:
    assert not _told(_amd_smi(set()), _functions()).links
    cut = _amd_smi(_ALL).partition("0000:c6:00.0 XGMI")[0]
    assert _hives(_told(cut, _functions())) == {frozenset(_PLACES)}, "one row of all is enough"
    twice = _rocm(_TWO, ("c1:00.0", "c1:00.0", "c9:00.0", "ce:00.0"))
    told = _told(twice, _functions())
    assert _hives(told) == {frozenset(_PLACES[2:])}
    assert told.gaps
