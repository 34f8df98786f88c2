"""Matrices of ``nvidia-smi topo``, joined to functions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atoll.host.links.read import is_link_record
from atoll.host.links.text import clean
from atoll.host.links.topo import parse_topo
from atoll.host.model import EndKind
from host.links.link_hosts import (
    A30,
    A100,
    GA102,
    GB200,
    H100,
    V100,
    A,
    far_kinds,
    gpus,
    host_of,
    matrix_of,
    pairs,
    real,
    why,
)


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


def test_a_matrix_of_one_gpu_is_a_record_that_tells_nothing() -> None:
    """Of a workstation, DGX Spark or GH200; refused, it would keep what stands beside it from being read."""
    matrix = "\tGPU0\tNIC0\tCPU Affinity\tNUMA Affinity\nGPU0\t X \tSYS\t0-71\t0\nNIC0\tSYS\t X \n"
    assert is_link_record(matrix.encode())
    host = host_of(gpus(1), H100, matrix)
    assert not host.links
    assert not host.links_told
    assert not is_link_record(b"       GPU0\nGPU0   0\n"), "of rocm-smi"


def test_a_matrix_whose_lines_a_mailer_wrapped() -> None:
    whole = real("topo-m-dgx1v-8xV100/topo.txt").decode()
    (matrix,) = parse_topo(whole)
    for width in range(3, 12):
        lines = []
        for line in whole.splitlines():
            words = line.split()
            table = words and words[0].startswith("GPU")
            lines += [" ".join(words[n : n + width]) for n in range(0, len(words), width)] if table else [line]
        assert parse_topo("\n".join(lines)) == (matrix,), width
    # Of a row that somebody cut, what comes below is no part.
    cut = "\tGPU0\tGPU1\tGPU2\nGPU0\t X \tNV4\tSYS\nGPU1\tNV4\nNIC0\tPIX\nNV4\n\nSYS  = Connection\n"
    (found,) = parse_topo(cut)
    assert found.links == {(0, 1): 4, (0, 2): 0, (1, 0): 4}


def test_a_gpu_without_a_link_counts_in_the_order() -> None:
    silent = "GPU 1: NVIDIA A100 (UUID: GPU-1)\nNVML: Unable to retrieve NVLink information as all links are inActive\n"
    status = f"GPU 0: NVIDIA A100 (UUID: GPU-0)\n Link 0: 25 GB/s\n Link 1: <inactive>\n{silent}"
    host = host_of(gpus(2), A100, status)
    assert [(str(link.a.function), link.a.number) for link in host.links] == [(gpus(1)[0], 0)]
    assert not host.links_told
    assert f"NVLinks of {gpus(1)[0]}: nvidia-smi nvlink -s (any name 0) shows links that are down: 1" in why(host)
    other = host_of(gpus(3), A100, status)
    assert not other.links
    assert "GPU 0" in why(other)
    assert "GPU 1" not in why(other), "of it there is nothing to tell"


def test_what_is_down_makes_a_matrix_tell_less() -> None:
    fewer = matrix_of(4, lambda a, b: 3)
    host = host_of(gpus(4), A100, fewer)
    assert len(host.links) == 18
    assert not host.links_told
    assert "9 of at most 12" in why(host)


def test_a_matrix_that_contradicts_itself() -> None:
    host = host_of(gpus(4), A100, matrix_of(4, lambda a, b: 3 if (a, b) == (0, 1) else 4))
    assert host.links_told == {A(gpus(4)[2]), A(gpus(4)[3])}
    assert "3 links from GPU 0 to GPU 1 and 4 back" in why(host)
    assert pairs(host)[A(gpus(4)[0]), A(gpus(4)[1])] == 4, "the greater number is kept"


def test_rows_of_two_machines_below_one_heading() -> None:
    """As a tool prints them that asks several: what differs counts for neither."""
    pair, cross = (matrix_of(4, lambda a, b, to=to: 4 if a ^ b == to else 0).splitlines() for to in (1, 2))
    both = [line for lines in zip(pair[:5], cross[:5], strict=True) for line in lines]
    for text in ("\n".join(both), "\n".join((*pair[:5], *cross[1:5]))):
        host = host_of(gpus(4), GA102, text)
        assert not host.links_told
        assert "shows it in two ways" in why(host)
    again = host_of(gpus(4), GA102, "\n".join((*pair[:5], *pair[1:5], "GPU0 is the one with the screen")))
    assert len(again.links_told) == 4


def test_listings_that_differ_count_by_what_is_up_in_either() -> None:
    matrix = matrix_of(2, lambda a, b: 4)
    lists = {up: "".join(f" Link {number}: 25 GB/s\n" for number in range(up)) for up in (4, 6)}
    four, six = (f"GPU 0: x\n{lists[up]}GPU 1: x\n{lists[4]}" for up in (4, 6))
    assert len(host_of(gpus(2), GA102, matrix, four).links_told) == 2
    for texts in ((four + six,), (six + four,), (four, six), (six, four)):
        assert A(gpus(1)[0]) not in host_of(gpus(2), GA102, matrix, *texts).links_told


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


def test_a_matrix_of_which_one_gpu_has_no_address() -> None:
    rows = "index, pci.bus_id\n" + "".join(f"{n}, {a}\n" for n, a in enumerate(gpus(3)))
    host = host_of(gpus(4), A100, matrix_of(4, lambda a, b: 4), rows)
    assert len(host.links) == 12
    assert not host.links_told, "of each, some links lead to the GPU that has no address"
    assert "NVLinks of GPU 3" in why(host)


BRIDGED = """\
        GPU0  GPU1  GPU2  GPU3
GPU0     X    NV4   SYS   SYS
GPU1    NV4    X    SYS   SYS
GPU2    SYS   SYS    X    NV4
GPU3    SYS   SYS   NV4    X
"""


def test_a_matrix_of_fewer_gpus_than_another_record_names() -> None:
    """In a container the GPUs that it was given are numbered from 0."""
    query = "index, pci.bus_id\n" + "".join(f"{n}, {a}\n" for n, a in enumerate(gpus(6)))
    found = host_of(gpus(6), A30, BRIDGED, query)
    assert not found.links_told
    assert "another record shows a GPU 4" in why(found)
