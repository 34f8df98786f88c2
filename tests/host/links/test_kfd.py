"""XGMI links and hives as AMD's driver shows them, on real topologies and handmade ones."""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.host import read_host
from atoll.host.links.kfd import KfdLink, KfdNode, kfd_links, parse_properties
from atoll.host.model import EndKind, Function, Host, LinkKind
from atoll.host.records.content import read_record
from atoll.host.together import read_together
from atoll.pci.address import Address
from host.handmade import function_files, tree_of

A = Address.parse
DATA = Path(__file__).resolve().parents[2] / "data" / "links"
TOPOLOGY = "sys/class/kfd/kfd/topology"
MI210, MI308 = 0x740F, 0x74A2


def recorded(name: str, above: str) -> dict[str, bytes]:
    found = {}
    with tarfile.open(DATA / name / f"{name}.tar.gz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None and above in member.name:
                found[f"{TOPOLOGY}/{member.name.partition(above)[2]}"] = file.read()
    return found


def host_of(files: Mapping[str, str | bytes], addresses: Iterable[str], device: int) -> Host:
    everything = dict(files)
    for address in addresses:
        everything |= function_files(address, vendor=0x1002, device=device, kind=0x120000)
    return read_host(tree_of(everything))


def places(files: Mapping[str, bytes]) -> dict[int, str]:
    """Where the lowest node of each device is, by ``unique_id``: read by hand."""
    found: dict[int, list[str]] = {}
    for path, data in files.items():
        if path.count("/") != 7 or not path.endswith("/properties"):
            continue
        values = dict(line.split(" ", 1) for line in data.decode().splitlines())
        if values["vendor_id"] == "4098":
            at = int(values["location_id"])
            text = f"{int(values['domain']):04x}:{at >> 8:02x}:{at >> 3 & 31:02x}.{at & 7}"
            found.setdefault(int(values["unique_id"]), []).append(text)
    return {unique: min(texts) for unique, texts in found.items()}


ONE_HIVE, OTHER_HIVE = ("63", "43", "03", "26"), ("e3", "c3", "83", "a3")


def test_two_hives_of_four() -> None:
    files = recorded("kfd-mi210-4x-xgmi-pcie", "topo-mi210-xgmi-pcie/")
    addresses = sorted(places(files).values())
    host = host_of(files, addresses, MI210)
    expected = {
        tuple(sorted((A(f"0000:{one}:00.0"), A(f"0000:{other}:00.0"))))
        for hive in (ONE_HIVE, OTHER_HIVE)
        for one in hive
        for other in hive
        if one != other
    }
    assert {(link.a.function, link.b.function) for link in host.links} == expected
    assert len(host.links) == 12
    assert {(link.kind, link.bytes_per_second, link.pairing_told) for link in host.links} == {
        (LinkKind.XGMI, 50_000_000_000, True)
    }
    assert host.links_told == {A(address) for address in addresses}
    assert "sys/class/kfd" in host.provenance


def test_partitions_of_one_device_are_one_function() -> None:
    files = recorded("kfd-mi308", "topology-parsing-mi308/topology/")
    addresses = sorted(places(files).values())
    assert len(addresses) == 8
    host = host_of(files, addresses, MI308)
    assert Counter(link.b.kind for link in host.links) == {EndKind.SWITCH: 8}
    assert len({link.b for link in host.links}) == 1, "one hive, and who is joined directly is not told"
    assert {link.a.function for link in host.links} == {A(address) for address in addresses}
    assert host.links_told == {A(address) for address in addresses}


def test_partitions_of_which_each_has_an_id_of_its_own() -> None:
    """Newer drivers show that of a partition's first die."""
    files = recorded("kfd-mi308", "topology-parsing-mi308/topology/")
    own = {
        path: re.sub(rb"unique_id [1-9]\d*", b"unique_id %d" % (10**18 + n), data)
        for n, (path, data) in enumerate(sorted(files.items()))
    }
    addresses = sorted(places(files).values())
    host, before = host_of(own, addresses, MI308), host_of(files, addresses, MI308)
    assert (host.links, host.links_told) == (before.links, before.links_told)
    assert not any("no such function" in gap.why or "no function here" in gap.why for gap in host.gaps)
    text = "\n".join(f"{path}:{line}" for path, data in own.items() for line in data.decode().splitlines())
    alone = read_together([read_record(text.encode(), name="kfd.txt")])
    assert {str(address) for address in alone.functions} == set(addresses), "a function for each device"
    assert alone.links_told == host.links_told


def test_a_gpu_that_is_not_bound_is_not_told() -> None:
    files = recorded("kfd-mi210-4x-xgmi-pcie", "topo-mi210-xgmi-pcie/")
    host = host_of(files, [*places(files).values(), "0000:f3:00.0"], MI210)
    assert not host.links_told
    assert any("not bound to amdgpu" in gap.why for gap in host.gaps)
    missing = host_of(files, [a for a in places(files).values() if "63:" not in a], MI210)
    assert {str(address)[5:7] for address in missing.links_told} == set(OTHER_HIVE)


def nodes(weights: Mapping[tuple[int, int], int], count: int, **more: int) -> tuple[KfdNode, ...]:
    return tuple(
        KfdNode(
            n,
            {"vendor_id": 0x1002, "location_id": (0x10 + n) << 8, "hive_id": 7, "unique_id": 100 + n, **more},
            tuple(KfdLink(b, 11, weight, 50_000, 100_000) for (a, b), weight in weights.items() if a == n),
        )
        for n in range(count)
    )


def functions(count: int) -> Mapping[Address, Function]:
    return host_of({}, [f"0000:{0x10 + n:02x}:00.0" for n in range(count)], MI210).functions


FOUR = functions(4)
EVERY = {(a, b): 15 for a in range(4) for b in range(4) if a != b}


def test_bandwidth_tells_parallel_links() -> None:
    told = kfd_links(nodes(EVERY, 4), FOUR, {})
    assert Counter((link.a, link.b) for link in told.links) == dict.fromkeys(
        {(link.a, link.b) for link in told.links}, 2
    )
    assert {link.bytes_per_second for link in told.links} == {50_000_000_000}
    assert not any(link.pairing_told for link in told.links)
    assert told.told == FOUR.keys()


@pytest.mark.parametrize(("weight", "told"), [(30, True), (41, True), (45, True), (17, False), (0, True)])
def test_more_than_one_hop_is_routed_by_the_hive(weight: int, told: bool) -> None:
    found = kfd_links(nodes({**EVERY, (0, 3): weight, (3, 0): weight}, 4), FOUR, {})
    hive = [link for link in found.links if link.b.kind is EndKind.SWITCH]
    assert len(hive) == 4
    assert not any((link.a.function, link.b.function) == (A("0000:10:00.0"), A("0000:13:00.0")) for link in found.links)
    assert (A("0000:10:00.0") in found.told) is told


def test_a_link_that_one_side_shows() -> None:
    found = kfd_links(nodes({pair: 15 for pair in EVERY if pair != (1, 0)}, 4), FOUR, {})
    assert found.told == {A("0000:12:00.0"), A("0000:13:00.0")}


def test_xgmi_without_a_hive_is_not_told() -> None:
    assert not kfd_links(nodes({}, 4, hive_id=0, num_sdma_xgmi_engines=3), FOUR, {}).told
    assert kfd_links(nodes({}, 4, hive_id=0), FOUR, {}).told == FOUR.keys()


@pytest.mark.parametrize("weight", [30, 41])
def test_links_over_others_without_a_hive_are_not_told(weight: int) -> None:
    """A record whose hive ids are missing: nothing routes what it says that there is."""
    shown = {(0, 1): weight, (1, 0): weight}
    assert kfd_links(nodes(shown, 4, hive_id=0), FOUR, {}).told == {A("0000:12:00.0"), A("0000:13:00.0")}
    assert kfd_links(nodes(shown, 4), FOUR, {}).told == FOUR.keys()
    apart = (*nodes(shown, 4)[:1], *nodes(shown, 4, hive_id=8)[1:])
    assert kfd_links(apart, FOUR, {}).told == {A("0000:12:00.0"), A("0000:13:00.0")}


def test_hives_by_function_alone() -> None:
    files = {
        f"sys/devices/pci0000:{0x10 + n:02x}/0000:{0x10 + n:02x}:00.0/xgmi_hive_info/xgmi_hive_id": "77\n"
        for n in range(2)
    }
    host = host_of(files, ["0000:10:00.0", "0000:11:00.0", "0000:12:00.0"], MI210)
    assert [str(link.a.function) for link in host.links] == ["0000:10:00.0", "0000:11:00.0"]
    assert {link.b.name for link in host.links} == {"XGMI hive 0x4d"}
    assert not host.links_told
    other = kfd_links(nodes(EVERY, 4), FOUR, {A("0000:10:00.0"): 8})
    assert A("0000:10:00.0") not in other.told


def test_links_to_cpus() -> None:
    cpu = KfdNode(9, {"cpu_cores_count": 8})
    gpu = KfdNode(1, {"vendor_id": 0x1002, "location_id": 0x1000}, (KfdLink(9, 11, 15, 0, 0), KfdLink(9, 2, 20, 0, 0)))
    (link,) = kfd_links((cpu, gpu), FOUR, {}).links
    assert (link.b.kind, link.b.name, link.bytes_per_second) == (EndKind.CPU, "node 9", None)


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 4), st.integers(0, 5)), st.sampled_from([0, 13, 15, 17, 30, 41]), max_size=20
    ),
    st.integers(0, 5),
)
def test_laws(weights: dict[tuple[int, int], int], count: int) -> None:
    found = kfd_links(nodes(weights, count), FOUR, {})
    assert found.told <= FOUR.keys()
    for link in found.links:
        assert link.a.function in FOUR
        assert link.b.function in FOUR or link.b.kind is EndKind.SWITCH
        assert link.a.function != link.b.function
    for a in range(min(count, 4)):
        for b in range(min(count, 4)):
            both_told = {A(f"0000:{0x10 + n:02x}:00.0") for n in (a, b)} <= found.told
            if a != b and both_told:
                assert (weights.get((a, b)) == 15) is (weights.get((b, a)) == 15)


@given(st.text(max_size=200) | st.text("a1-9 \n\u0663", max_size=60))
def test_any_text_has_properties(text: str) -> None:
    assert all(value >= 0 for value in parse_properties(text).values())


def test_an_entry_that_could_not_be_read_is_no_missing_link() -> None:
    """The driver counts a node's links; one whose file is not there is shown by neither end of a pair."""
    nodes = "sys/devices/virtual/kfd/kfd/topology/nodes"
    addresses = [f"0000:{bus:02x}:00.0" for bus in (1, 2)]

    def told(count: int) -> int:
        files: dict[str, str | bytes] = {}
        for number, bus in ((0, 1), (1, 2)):
            lines = f"cpu_cores_count 0\nvendor_id 4098\nlocation_id {bus << 8}\ndomain 0\nunique_id {bus}\n"
            files[f"{nodes}/{number}/properties"] = f"{lines}io_links_count {count}\n"
        return len(host_of(files, addresses, 0x740C).links_told)

    assert told(0) == 2
    assert told(1) == 0
