"""Records of links, found out by content and joined to functions: on real texts, and by laws."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.fabric.families import has_cpu_links
from atoll.host import read_host
from atoll.host.interconnect import with_link_records
from atoll.host.links.chips import has_c2c
from atoll.host.links.read import is_link_record, read_link_records
from atoll.host.links.smi import parse_links
from atoll.host.links.smi_query import parse_query
from atoll.host.links.text import clean
from atoll.host.links.topo import parse_topo
from atoll.host.links.xml import parse_xml
from atoll.host.model import EndKind, Function, Host, LinkKind
from atoll.pci.address import Address
from host.trees import function_files, tree_of

A = Address.parse
DATA = Path(__file__).resolve().parent.parent / "data" / "links"
A100, H100, V100, GB200 = 0x20B0, 0x2330, 0x1DB1, 0x2941
TU104, A30, ELSE = 0x1E81, 0x20B7, 0x1234
"""One link, four, and a chip that no table knows."""
BRIDGE = 0x068000


def real(name: str) -> bytes:
    return (DATA / name).read_bytes()


def gpus(count: int) -> list[str]:
    return [f"0000:{0x10 + n:02x}:00.0" for n in range(count)]


def host_of(
    addresses: Sequence[str],
    device: int,
    *texts: bytes | str,
    vendor: int = 0x10DE,
    kind: int = 0x030200,
    switches: Sequence[str] = (),
) -> Host:
    files: dict[str, str | bytes] = {f"records/any name {n}": text for n, text in enumerate(texts)}
    for address in addresses:
        files |= function_files(address, vendor=vendor, device=device, kind=kind)
    for address in switches:
        files |= function_files(address, device=0x22A3, kind=BRIDGE)
    return read_host(tree_of(files))


def far_kinds(host: Host) -> Counter[EndKind]:
    return Counter(link.b.kind for link in host.links)


def pairs(host: Host) -> Counter[tuple[Address | None, Address | None]]:
    return Counter((link.a.function, link.b.function) for link in host.links)


def why(host: Host) -> str:
    return " | ".join(f"{gap.what}: {gap.why}" for gap in host.gaps)


def test_four_a100_joined_directly() -> None:
    host = host_of(gpus(4), A100, real("topo-m-a100-4x-polaris-nv4/topo.txt"))
    assert set(pairs(host).values()) == {4}
    assert len(pairs(host)) == 6
    assert host.links_told == {A(address) for address in gpus(4)}
    assert not any(link.pairing_told for link in host.links)
    assert all("PCI order" in link.source and link.a.number is None for link in host.links)


def test_the_cube_of_a_dgx1v() -> None:
    host = host_of(gpus(8), V100, real("topo-m-dgx1v-8xV100/topo.txt"))
    found = {tuple(gpus(8).index(str(end)) for end in pair): count for pair, count in pairs(host).items()}
    one, two = {(0, 1), (0, 2), (1, 3), (2, 6), (3, 7), (4, 5), (4, 6), (5, 7)}, {(0, 3), (0, 4), (1, 2), (1, 5)}
    two |= {(2, 3), (4, 7), (5, 6), (6, 7)}
    assert found == {**dict.fromkeys(one, 1), **dict.fromkeys(two, 2)}
    assert len(host.links_told) == 8
    assert {link.pairing_told for link in host.links if pairs(host)[link.a.function, link.b.function] == 1} == {True}


def test_links_through_switches_are_none_between_gpus() -> None:
    text = real("topo-m-h200-or-h100-8x-ib/topo.txt")
    host = host_of(gpus(8), H100, text)
    assert far_kinds(host) == {EndKind.SWITCH: 8 * 18}
    assert len(host.links_told) == 8
    assert len({link.b for link in host.links}) == 1, "all share the switches"
    shown = host_of(gpus(8), H100, text, switches=["0000:05:00.0"])
    assert not shown.links_told, "which switch, the matrix does not tell"
    assert "to which NVSwitch" in why(shown)


def test_a_matrix_for_another_number_of_gpus_is_not_guessed_at() -> None:
    host = host_of(gpus(7), H100, real("topo-m-h200-or-h100-8x-ib/topo.txt"))
    assert not host.links
    assert not host.links_told
    assert "which GPU has which address" in why(host)


def test_c2c_links_are_not_in_a_matrix() -> None:
    addresses = ["0000:29:00.0", "0000:3f:00.0", "0000:9c:00.0", "0000:b2:00.0"]
    matrix, query = real("topo-m-gb200-4x-nv18/topo.txt"), real("nvidia-smi-qx-gb200/qx-gb200.xml")
    alone = host_of(addresses, GB200, matrix)
    assert far_kinds(alone) == {EndKind.SWITCH: 72}
    assert not alone.links_told
    both = host_of(addresses, GB200, matrix, query)
    assert far_kinds(both) == {EndKind.SWITCH: 72, EndKind.CPU: 4}
    assert both.links_told == {A(address) for address in addresses}
    assert not any("PCI order" in link.source for link in both.links), "the query tells the addresses"
    only = host_of(addresses, GB200, query)
    assert far_kinds(only) == {EndKind.SWITCH: 4, EndKind.CPU: 4}
    assert not only.links_told


def test_chips_with_c2c_are_the_same_everywhere() -> None:
    for device in range(0x10000):
        assert has_c2c(0x10DE, device) is has_cpu_links(0x10DE, device, powernv=False)


def test_switches_by_name_and_numbers_at_both_ends() -> None:
    switches = [f"0000:0{n}:00.0" for n in (5, 6, 7, 8)]
    query = f"index, pci.bus_id\n0, {gpus(1)[0]}\n"
    host = host_of(gpus(8), H100, real("nvlink-R-h100-gpu0/topo.txt"), query, switches=switches)
    assert Counter(str(link.b.function) for link in host.links) == dict(zip(switches, (4, 5, 5, 4), strict=True))
    assert (host.links[0].b.kind, host.links[0].a.number, host.links[0].b.number) == (EndKind.SWITCH, 0, 46)
    assert host.links_told == {A(gpus(1)[0])}
    without = host_of(gpus(8), H100, real("nvlink-R-h100-gpu0/topo.txt"), switches=switches)
    assert not without.links, "one of eight GPUs: no order tells which"
    matrix = real("topo-m-h200-or-h100-8x-ib/topo.txt")
    rows = "".join(f"{n}, {address}\n" for n, address in enumerate(gpus(8)))
    both = host_of(
        gpus(8), H100, matrix, real("nvlink-R-h100-gpu0/topo.txt"), f"index, pci.bus_id\n{rows}", switches=switches
    )
    assert len(both.links) == 8 * 18, "what both tell is there once"
    assert both.links_told == {A(gpus(1)[0])}


def test_status_tells_rates_and_no_ends() -> None:
    status = real("gpud-a100-8x-nvlink-status/nvidia-smi.nvlink.status.a100")
    host = host_of(gpus(8), A100, status)
    assert far_kinds(host) == {EndKind.UNKNOWN: 96}
    assert {link.bytes_per_second for link in host.links} == {25_000_000_000}
    assert {link.a.number for link in host.links} == set(range(12))
    assert not host.links_told
    faster = status.replace(b"25 GB/s", b"26.562 GB/s")
    matrix = matrix_of(8, lambda a, b: 12)
    joined = host_of(gpus(8), A100, faster, matrix)
    assert far_kinds(joined) == {EndKind.SWITCH: 96}
    assert {link.bytes_per_second for link in joined.links} == {26_562_000_000}
    assert len(joined.links_told) == 8


def matrix_of(count: int, links: object, *, word: str = "SYS") -> str:
    assert callable(links)
    lines = ["\x1b[4m\t" + "\t".join(f"GPU{n}" for n in range(count)) + "\tCPU Affinity\tNUMA Affinity\x1b[0m"]
    for a in range(count):
        cells = [" X " if a == b else f"NV{n}" if (n := links(a, b)) else word for b in range(count)]
        lines.append(f"GPU{a}\t" + "\t".join(cells) + "\t0-15\t0")
    return "\n".join(lines) + "\n\nLegend:\n\n  X    = Self\n  NV#  = Connection traversing a bonded set of # NVLinks\n"


def test_what_is_down_makes_a_matrix_tell_less() -> None:
    fewer = matrix_of(4, lambda a, b: 3)
    host = host_of(gpus(4), A100, fewer)
    assert len(host.links) == 18
    assert not host.links_told
    assert "9 of at most 12" in why(host)


def test_status_says_how_many_links_there_are() -> None:
    def status(down: int) -> str:
        lines = [f" Link {n}: " + ("<inactive>" if n < down else "25 GB/s") for n in range(9 + down)]
        return "".join(f"GPU {g}: A100 (UUID: GPU-{g})\n" + "\n".join(lines) + "\n" for g in range(4))

    assert len(host_of(gpus(4), A100, matrix_of(4, lambda a, b: 3), status(0)).links_told) == 4
    assert not host_of(gpus(4), A100, matrix_of(4, lambda a, b: 3), status(1)).links_told
    against = host_of(gpus(4), A100, matrix_of(4, lambda a, b: 4), status(0))
    assert not against.links_told
    assert "nvlink -s" in why(against)


def test_a_matrix_that_contradicts_itself() -> None:
    host = host_of(gpus(4), A100, matrix_of(4, lambda a, b: 3 if (a, b) == (0, 1) else 4))
    assert host.links_told == {A(gpus(4)[2]), A(gpus(4)[3])}
    assert "3 links from GPU 0 to GPU 1 and 4 back" in why(host)
    assert pairs(host)[A(gpus(4)[0]), A(gpus(4)[1])] == 4, "the greater number is kept"


def test_no_nvlink_in_a_matrix_is_not_none() -> None:
    host = host_of(gpus(4), A100, matrix_of(4, lambda a, b: 0))
    assert not host.links
    assert not host.links_told


def test_peer_to_peer_matrices_are_no_topology() -> None:
    for word, count in (("OK", 0), ("PIX", 1)):
        text = clean(matrix_of(4, lambda a, b: 0, word=word).encode(), name="")
        assert len(parse_topo(text)) == count


@given(st.integers(2, 8), st.data())
def test_a_matrix_counts_links(count: int, data: st.DataObject) -> None:
    wanted = {
        (a, b): data.draw(st.integers(0, 12 // (count - 1)), f"links of {a} and {b}")
        for a in range(count)
        for b in range(a + 1, count)
    }
    host = host_of(gpus(count), A100, matrix_of(count, lambda a, b: wanted[min(a, b), max(a, b)]))
    names = gpus(count)
    assert pairs(host) == {(A(names[a]), A(names[b])): n for (a, b), n in wanted.items() if n}
    for index, name in enumerate(names):
        shown = sum(n for pair, n in wanted.items() if index in pair)
        assert (A(name) in host.links_told) is (shown == 12)


def test_two_records_that_disagree() -> None:
    def remote(far: Sequence[int]) -> str:
        return "".join(
            f"GPU {g}: x (UUID: GPU-{g})\n Link 0: Remote Device 0000{gpus(4)[far[g]]}: Link 0\n" for g in range(4)
        )

    one, other = host_of(gpus(4), TU104, remote([1, 0, 3, 2])), host_of(gpus(4), TU104, remote([2, 3, 0, 1]))
    assert len(one.links_told) == len(other.links_told) == 4
    both = host_of(gpus(4), TU104, remote([1, 0, 3, 2]), remote([2, 3, 0, 1]), remote([1, 0, 3, 2]))
    assert not both.links_told, "a third record does not outvote the second"
    assert "any name 0" in why(both)
    assert "any name 1" in why(both)


def test_addresses_without_numbers() -> None:
    def peers(*links: tuple[int, int]) -> str:
        lines = []
        for gpu in range(3):
            lines.append(f"GPU {gpu}: Tesla V100-SXM2-32GB (UUID: GPU-{gpu})")
            ends = [b if a == gpu else a for a, b in links if gpu in (a, b)]
            lines += [f"\t Link {n}: 0000{gpus(3)[end]}" for n, end in enumerate(ends)]
        return "\n".join(lines)

    host = host_of(gpus(3), ELSE, peers((0, 1), (0, 1), (1, 2), (0, 2)))
    assert sorted(pairs(host).values()) == [1, 1, 2]
    assert {link.pairing_told for link in host.links if link.b.function != A(gpus(3)[2])} == {False}
    assert {link.pairing_told for link in host.links if link.b.function == A(gpus(3)[2])} == {True}
    assert len(host.links_told) == 3
    assert {(end.function, end.number) for link in host.links for end in (link.a, link.b)} == {
        (A(gpus(3)[g]), n) for g, count in ((0, 3), (1, 3), (2, 2)) for n in range(count)
    }


@pytest.mark.parametrize("far", ["FFFFFFFF:FF:FF.0", "00000000:00:00.0"])
def test_ends_that_the_driver_does_not_name(far: str) -> None:
    text = "".join(f"GPU {g}: x\n Link 0: Remote Device {far}: Link {g}\n" for g in range(2))
    host = host_of([*gpus(2), "0000:00:00.0"], H100, text, f"index, pci.bus_id\n0, {gpus(2)[0]}\n1, {gpus(2)[1]}\n")
    assert far_kinds(host) == {EndKind.UNKNOWN: 2}
    assert not host.links_told
    assert "does not name" in why(host)


def test_several_outputs_in_one_text() -> None:
    text = (
        "$ nvidia-smi -L\nGPU 0: x (UUID: GPU-0)\nGPU 1: x (UUID: GPU-1)\n"
        "$ nvidia-smi --query-gpu=index,pci.bus_id,uuid --format=csv\nindex, pci.bus_id, uuid\n"
        f"0, 0000{gpus(2)[1]}, GPU-0\n1, 0000{gpus(2)[0]}, GPU-1\n$ nvidia-smi topo -m\n"
        + matrix_of(2, lambda a, b: 6)
        + "$ nvidia-smi nvlink -R\n"
        + "".join(
            f"GPU {g}: x (UUID: GPU-{g})\n"
            + "".join(f" Link {n}: Remote Device 0000{gpus(2)[g]}: Link {n}\n" for n in range(6))
            for g in range(2)
        )
    )
    host = host_of(gpus(2), V100, text)
    assert len(host.links) == 6
    assert [(link.a.number, link.b.number) for link in host.links] == [(n, n) for n in range(6)]
    assert len(host.links_told) == 2, why(host)
    assert not any("PCI order" in link.source for link in host.links)


def test_another_machines_uuids_name_nothing() -> None:
    query = "index, pci.bus_id, uuid\n" + "".join(f"{n}, {a}, GPU-else-{n}\n" for n, a in enumerate(gpus(2)))
    remote = "".join(f"GPU {g}: x (UUID: GPU-{g})\n Link 0: Remote Device {gpus(2)[1 - g]}: Link 0\n" for g in range(2))
    assert len(host_of(gpus(2), TU104, query.replace("else-", ""), remote).links_told) == 2
    assert not any("PCI order" not in link.source for link in host_of(gpus(2), TU104, query, remote).links)


RCCL = "rccl-models-dev"


def rccl(name: str, device: int = 0x740C, more: Sequence[str] = ()) -> tuple[Host, list[Address]]:
    text = real(f"{RCCL}/{name}")
    found = sorted({A(busid) for busid in re.findall(r'busid="([^"]*)"[^>]*>\s*<gpu', text.decode())})
    return host_of([*map(str, found), *more], device, text, vendor=0x1002, kind=0x038000), found


def test_a_hive_of_which_all_are_joined() -> None:
    host, found = rccl("topo_8p_940vm.xml")
    assert pairs(host) == {(a, b): 1 for n, a in enumerate(found) for b in found[n + 1 :]}
    assert {link.kind for link in host.links} == {LinkKind.XGMI}
    assert host.links_told == set(found)


def test_a_ring_routes_over_its_members() -> None:
    host, found = rccl("topo_4p1h.xml")
    assert far_kinds(host) == {EndKind.FUNCTION: 4, EndKind.UNKNOWN: 4}
    assert len({link.b for link in host.links if link.b.kind is EndKind.UNKNOWN}) == 1
    assert host.links_told == set(found)


def test_parallel_xgmi_links_are_counted() -> None:
    host, _ = rccl("topo_8p1h.xml")
    text = real(f"{RCCL}/topo_8p1h.xml").decode()
    counts = sum(int(count) for count in re.findall(r'<xgmi [^>]*count="(\d+)"', text))
    assert far_kinds(host)[EndKind.FUNCTION] * 2 == counts
    assert max(pairs(host).values()) > 1


def test_gpus_that_the_topology_does_not_show() -> None:
    host, found = rccl("topo_4p3l.xml", more=["0000:77:00.0"])
    assert not host.links_told
    assert host.links
    none, found = rccl("topo_8p_rome_pcie.xml")
    assert not none.links_told, "no xgmi is not none"
    assert found


NCCL = """<system version="1"><cpu numaid="0" arch="x86_64">
<pci busid="0000:10:00.0" class="0x030200"><gpu dev="0" sm="90">{a}</gpu></pci>
<pci busid="0000:11:00.0" class="0x030200"><gpu dev="1" sm="90">{b}</gpu></pci></cpu></system>"""


def nccl(a: str, b: str, device: int = A100, **more: Sequence[str]) -> Host:
    return host_of(gpus(2), device, NCCL.format(a=a, b=b), **more)  # type: ignore[arg-type]


def test_nccl_tells_gpus_switches_and_cpus() -> None:
    def to(end: str, count: int, kind: str = "0x030200") -> str:
        return f'<nvlink target="{end}" count="{count}" tclass="{kind}"/>'

    direct = nccl(to(gpus(2)[1], 12), to(gpus(2)[0], 12))
    assert pairs(direct) == {(A(gpus(2)[0]), A(gpus(2)[1])): 12}
    assert len(direct.links_told) == 2
    switch = to("0000:05:00.0", 12, "0x068000")
    switched = nccl(switch, switch, switches=["0000:05:00.0"])
    assert far_kinds(switched) == {EndKind.SWITCH: 24}
    assert len(switched.links_told) == 2
    invented = to("fffffff:ff:ff.0", 12, "0x068000")
    unnamed = nccl(invented, invented)
    assert far_kinds(unnamed) == {EndKind.UNKNOWN: 24}
    assert not unnamed.links_told
    itself = nccl(to(gpus(2)[0], 12), to(gpus(2)[1], 12))
    assert not itself.links
    assert "lead to itself" in why(itself)
    one_sided = nccl(to(gpus(2)[1], 12), to(gpus(2)[0], 11))
    assert not one_sided.links_told
    assert pairs(one_sided).total() == 12
    c2c = nccl(f'{to(gpus(2)[1], 18)}<c2c bw="44712" count="5"/>', to(gpus(2)[0], 18), 0x2342)
    assert c2c.links_told == {A(gpus(2)[0])}


def test_hwloc_tells_bandwidths() -> None:
    addresses = ["0002:01:00.0", "0003:01:00.0", "000a:01:00.0", "000b:01:00.0"]
    host = host_of(addresses, 0x15F9, real("hwloc-p8-minsky-4xP100/power8gpudistances.xml"))
    assert far_kinds(host) == {EndKind.FUNCTION: 4, EndKind.CPU: 8}
    assert pairs(host)[A(addresses[0]), A(addresses[1])] == 2
    assert pairs(host)[A(addresses[2]), A(addresses[3])] == 2
    assert host.links_told == {A(address) for address in addresses}
    slower = host_of(addresses, A100, real("hwloc-p8-minsky-4xP100/power8gpudistances.xml"))
    assert not slower.links_told, "no whole number of links has that rate"


BILLION = (
    '<?xml version="1.0"?><!DOCTYPE system [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {n} "{"&" + p + ";"}{"&" + p + ";"}">' for p, n in zip("abcdefghi", "bcdefghij", strict=True))
    + "]><system>&j;</system>"
)


@pytest.mark.parametrize(
    "text",
    [
        BILLION,
        "<system version='1'>" + "<pci>" * 100 + "</pci>" * 100 + "</system>",
        "<system version='1'>",
        '<?xml version="1.0" encoding="nonsense"?><system/>',
        "<?xml version='1.0'?>",
    ],
    ids=["entities", "deep", "cut", "encoding", "empty"],
)
def test_damaged_xml_is_a_gap(text: str) -> None:
    host = host_of(gpus(1), A100, text)
    assert "any name 0" in why(host)
    assert not host.links


@pytest.mark.parametrize(
    "text",
    [
        NCCL.format(a='<nvlink target="0000:11:00.0" count="4096" tclass="0x030200"/>', b=""),
        "GPU 0: x\n Link 0: 0000:11:00.0\n" * 100_000,
        ("GPU0 GPU1\nGPU0 X NV1\nGPU1 NV1 X\n") * 50_000,
        b"GPU" + bytes(1 << 24),
    ],
    ids=["links", "lists", "matrices", "bytes"],
)
def test_more_than_anybody_records_is_a_gap(text: str | bytes) -> None:
    host = host_of(gpus(2), A100, text)
    assert "any name 0" in why(host)
    assert not host.links


def test_a_matrix_of_which_one_gpu_has_no_address() -> None:
    rows = "index, pci.bus_id\n" + "".join(f"{n}, {a}\n" for n, a in enumerate(gpus(3)))
    host = host_of(gpus(4), A100, matrix_of(4, lambda a, b: 4), rows)
    assert len(host.links) == 12
    assert not host.links_told, "of each, some links lead to the GPU that has no address"
    assert "NVLinks of GPU 3" in why(host)


def test_xgmi_that_one_side_shows() -> None:
    text = real(f"{RCCL}/topo_4p3l.xml")
    one_sided = text.replace(b'<xgmi target="0000:1d:00.0" count="1"', b'<xgmi target="0000:1d:00.0" count="2"', 1)
    assert one_sided != text
    found = ["0000:1d:00.0", "0000:20:00.0", "0000:23:00.0", "0000:26:00.0"]
    host = host_of(found, 0x738C, one_sided, vendor=0x1002, kind=0x038000)
    assert host.links_told == {A("0000:23:00.0"), A("0000:26:00.0")}


def test_an_order_that_remote_ends_refute() -> None:
    reversed_order = "".join(f"GPU {g}: x\n Link 0: Remote Device {gpus(2)[g]}: Link 0\n" for g in range(2))
    host = host_of(gpus(2), V100, reversed_order)
    assert not host.links
    assert "do not confirm the PCI order" in why(host)


def test_records_made_anonymous_go_by_index() -> None:
    query = "index, pci.bus_id, uuid\n" + "".join(f"{n}, {a}, GPU-0\n" for n, a in enumerate(reversed(gpus(2))))
    text = "".join(f"GPU {g}: x (UUID: GPU-0)\n Link 0: Remote Device {gpus(2)[g]}: Link 0\n" for g in range(2))
    host = host_of(gpus(2), TU104, query, text)
    assert len(host.links_told) == 2
    assert not any("PCI order" in link.source for link in host.links)


def test_a_fabric_is_no_point_to_point_link() -> None:
    addresses = ["0000:29:00.0", "0000:3f:00.0", "0000:9c:00.0", "0000:b2:00.0"]
    matrix = matrix_of(4, lambda a, b: 6)
    assert far_kinds(host_of(addresses, GB200, matrix)) == {EndKind.FUNCTION: 36}
    in_fabric = host_of(addresses, GB200, matrix, real("nvidia-smi-qx-gb200/qx-gb200.xml"))
    assert far_kinds(in_fabric) == {EndKind.SWITCH: 24, EndKind.CPU: 4}
    assert not in_fabric.links_told


def test_further_records_of_a_host() -> None:
    bare = host_of(gpus(8), H100)
    assert "board:hgx-h100-8" in why(bare)
    matrix = real("topo-m-h200-or-h100-8x-ib/topo.txt")
    host = with_link_records(bare, {"pasted.txt": matrix, "lspci.txt": b"00:00.0 Host bridge\n"})
    assert host.links_told == set(bare.functions)
    assert "board:" not in why(host)
    assert host.provenance == (*bare.provenance, "pasted.txt")
    same = with_link_records(host, {"again.txt": matrix})
    assert (same.links, same.links_told) == (host.links, host.links_told)
    other = with_link_records(host, {"other.txt": matrix.replace(b"NV18", b"NV17")})
    assert other.links_told == host.links_told, "fewer links can be down"
    assert with_link_records(bare, {"lspci.txt": b"00:00.0 Host bridge\n"}) is bare
    none = with_link_records(
        host_of(gpus(8), A100, matrix_of(8, lambda a, b: 12)),
        {"4.txt": matrix_of(8, lambda a, b: 6 if abs(a - b) == 1 else 0).encode()},
    )
    assert far_kinds(none)[EndKind.SWITCH] == 96
    assert not none.links_told
    assert "4.txt" in why(none)


def test_names_do_not_matter() -> None:
    assert is_link_record(real("nvidia-smi-qx-a100/qx-a100.xml"))
    assert is_link_record(real("topo-m-dgx1v-8xV100/topo.txt").decode().encode("utf-16"))
    assert not is_link_record(b"00:00.0 Host bridge: Intel\n")
    assert not is_link_record(b"<?xml version='1.0'?><topology/>")


def functions() -> Mapping[Address, Function]:
    return host_of(gpus(4), A100).functions


FOUR = functions()
WORDS = """GPU0 GPU1 GPU2 X NV1 NV12 SYS OK GPU Link Remote Device 00000000:10:00.0 0000:11:00.0: <inactive> 25 GB/s 1e9
NaN index,pci.bus_id,uuid 0,0000:10:00.0,GPU-1 (UUID: GPU-0) <system version='1'> <gpu> <pci busid='0000:10:00.0'>
</system> <nvidia_smi_log> </nvidia_smi_log> <nvlink target= count='9' /> & ;"""
PIECES = st.sampled_from([*WORDS.split(), "\n", "\n", "\t", "\nGPU 0:", "\nLink 0:", "\nLink 1:", "\x1b[4m"])


@given(
    st.one_of(
        st.binary(max_size=300),
        st.lists(PIECES, max_size=60).map(lambda pieces: " ".join(pieces).encode()),
        st.tuples(
            st.sampled_from(sorted(DATA.glob("*/*"))).map(Path.read_bytes).map(lambda data: data[:6000]),
            st.integers(0, 6000),
            st.binary(max_size=6),
        ).map(lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] + 3 :]),
    )
)
def test_any_bytes_are_read(data: bytes) -> None:
    found = read_link_records({"record": data}, FOUR)
    for source in found.sources:
        assert source.told <= FOUR.keys()
        for link in source.links:
            assert link.a.kind is EndKind.FUNCTION
            assert link.a.function in FOUR
            assert link.a.function != link.b.function
    assert bool(found.used) is is_link_record(data)


@given(st.text(alphabet="GPU LinkRemotDvc0123456789:.<>-(\n\tBs/", max_size=300))
def test_sections_have_each_link_once(text: str) -> None:
    for gpu in parse_links(text):
        told = [*(gpu.remote or {}), *gpu.rates, *gpu.unnamed]
        assert len(told) == len(set(told))


@pytest.mark.parametrize(
    "around",
    [
        lambda text: "".join(f"> {line}\n" for line in text.splitlines()),
        lambda text: f"<pre>{text.replace('<', '&lt;').replace('>', '&gt;')}</pre>",
        lambda text: f"Hi,\n\n```\n$ nvidia-smi topo -m\n{text}```\n",
        lambda text: "".join(f"{number:6d}\t{line}\n" for number, line in enumerate(text.splitlines(), 1)),
    ],
)
def test_what_posts_put_around_a_matrix_changes_nothing(around: Callable[[str], str]) -> None:
    text = real("topo-m-a100-4x-polaris-nv4/topo.txt").decode()
    plain, posted = (host_of(gpus(4), A100, one) for one in (text, around(text)))
    assert len(plain.links) == 24
    assert (posted.links, posted.links_told) == (plain.links, plain.links_told)


BRIDGED = """\
        GPU0  GPU1  GPU2  GPU3
GPU0     X    NV4   SYS   SYS
GPU1    NV4    X    SYS   SYS
GPU2    SYS   SYS    X    NV4
GPU3    SYS   SYS   NV4    X
"""


def queried(shown: Sequence[int], attached: int) -> str:
    gpu = "".join(
        f'<gpu id="0000{a}"><uuid>GPU-{n}</uuid><pci><pci_bus_id>0000{a}</pci_bus_id></pci></gpu>'
        for n, a in enumerate(gpus(attached))
        if n in shown
    )
    return f'<?xml version="1.0" ?><nvidia_smi_log><attached_gpus>{attached}</attached_gpus>{gpu}</nvidia_smi_log>'


MIG = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-00000000-0000-0000-0000-000000000000)
  MIG 3g.20gb     Device  0: (UUID: MIG-11111111-1111-1111-1111-111111111111)
  MIG 3g.20gb     Device  1: (UUID: MIG-22222222-2222-2222-2222-222222222222)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-33333333-3333-3333-3333-333333333333)
"""
ADDRESSES = """\
index, pci.bus_id, uuid
0, 00000000:10:00.0, GPU-00000000-0000-0000-0000-000000000000
1, 00000000:11:00.0, GPU-33333333-3333-3333-3333-333333333333
"""


def test_instances_are_no_gpus() -> None:
    host = host_of(gpus(2), A100, MIG, ADDRESSES)
    (gap,) = [gap for gap in host.gaps if "MIG" in gap.what]
    assert gap.what == "instances (MIG) of 0000:10:00.0"
    assert "split in 2, which are one PCI function" in gap.why
    assert not host.links
    assert not host.links_told
    assert "instances (MIG) of GPU 0" in {gap.what for gap in host_of(gpus(3), A100, MIG).gaps}


def test_instances_in_a_query() -> None:
    text = real("nvidia-smi-qx-a100/qx-a100.xml").decode()
    assert "MIG" not in str(read_link_records({"q": text.encode()}, {}).sources)
    device = "<mig_device><index>0</index><gpu_instance_id>1</gpu_instance_id></mig_device>"
    split = text.replace("<current_mig>Disabled", "<current_mig>Enabled", 1)
    empty = read_link_records({"q": split.encode()}, {})
    assert "it is split in 0" in str(empty.sources)
    split = re.sub(
        r"<mig_devices>.*?</mig_devices>", f"<mig_devices>{device * 3}</mig_devices>", split, count=1, flags=re.S
    )
    whys = [gap.why for source in read_link_records({"q": split.encode()}, {}).sources for gap in source.gaps]
    assert len([why for why in whys if "it is split in 3" in why]) == 1
    assert len(parse_query(parse_xml(split.encode(), name="q"))) == len(parse_query(parse_xml(text.encode(), name="q")))


def test_a_query_of_some_gpus_numbers_none() -> None:
    """``nvidia-smi -q -x -i 1,2``: the first that it shows is not GPU 0."""
    whole = host_of(gpus(4), A30, BRIDGED, queried(range(4), 4))
    assert len(whole.links_told) == 4
    # The matrix is of a machine with other addresses than the PCI order has.
    some = host_of([*gpus(4), "0000:30:00.0"], A30, BRIDGED, queried([1, 2], 5))
    assert not some.links_told
    assert not some.links


def test_a_matrix_of_fewer_gpus_than_another_record_names() -> None:
    """In a container the GPUs that it was given are numbered from 0."""
    query = "index, pci.bus_id\n" + "".join(f"{n}, {a}\n" for n, a in enumerate(gpus(6)))
    found = host_of(gpus(6), A30, BRIDGED, query)
    assert not found.links_told
    assert "another record shows a GPU 4" in why(found)


def test_a_listing_of_states_that_was_cut() -> None:
    """The last GPU's section ends after as many links as the matrix counts."""
    matrix = "  GPU0 GPU1\nGPU0 X NV1\nGPU1 NV1 X\n"
    states = "GPU 0: x\n" + "".join(f"  Link {n}: {'25 GB/s' if not n else '<inactive>'}\n" for n in range(6))
    assert not host_of(gpus(2), V100, matrix, f"{states}GPU 1: x\n  Link 0: 25 GB/s\n").links_told
