"""NVLinks of AC922 machines from their device tree: Redbud and Sequoia as wired, and every way to be wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from atoll.errors import InputError
from atoll.host import read_host
from atoll.host.fact import Known, value_of
from atoll.host.model import EndKind, Host, Platform, RootRouting
from atoll.host.trees.dtb import read_blob
from atoll.pci.address import Address
from host.handmade import cells, tree_of
from host.links.witherspoon import GPUS, REDBUD, SEQUOIA, machine

A = [Address.parse(gpu) for gpu in GPUS]
BASE = "sys/firmware/devicetree/base/pciex@600c3c0000000/pci@0"


def between(host: Host, one: Address, other: Address) -> list[tuple[int | None, int | None]]:
    return [(x.a.number, x.b.number) for x in host.links if (x.a.function, x.b.function) == (one, other)]


def to_cpu(host: Host, gpu: Address) -> dict[int | None, int | None]:
    return {x.a.number: x.b.number for x in host.links if x.a.function == gpu and x.b.kind is EndKind.CPU}


@pytest.mark.parametrize("of_node", [True, False])
def test_redbud(of_node: bool) -> None:
    host = read_host(tree_of(machine(REDBUD, of_node=of_node)))
    assert host.platform is Platform.POWERNV
    assert between(host, A[0], A[1]) == [(0, 0), (2, 2), (4, 4)]
    assert to_cpu(host, A[0]) == {1: 0, 3: 1, 5: 2}
    assert to_cpu(host, A[1]) == {1: 3, 3: 4, 5: 5}
    assert host.links_told == {A[0], A[1]}
    assert not any("NVLink" in gap.what for gap in host.gaps)
    assert {link.bytes_per_second for link in host.links} == {25_000_000_000}
    assert all(link.pairing_told is (link.b.kind is EndKind.CPU) for link in host.links)
    assert (host.functions[A[0]].device_tree_path is not None) is of_node


def test_sequoia() -> None:
    host = read_host(tree_of(machine(SEQUOIA)))
    assert between(host, A[0], A[1]) == [(0, 0), (4, 4)]
    assert between(host, A[0], A[2]) == [(2, 1), (3, 4)]
    assert between(host, A[1], A[2]) == [(2, 0), (3, 2)]
    assert len(host.links) == 12
    assert host.links_told == set(A)


def test_one_link_is_told_by_both_ends() -> None:
    host = read_host(tree_of(machine((("g1", "n0"), ("n1", "g0")))))
    (link,) = (x for x in host.links if x.b.kind is EndKind.FUNCTION)
    assert (link.a.number, link.b.number, link.pairing_told) == (0, 1, True)


def test_bricks() -> None:
    host = read_host(tree_of(machine(REDBUD)))
    assert len(host.npu_bricks) == 6
    assert {brick.npu for brick in host.npu_bricks} == {"/xscom@603fc00000000/npu@5011000"}
    assert Counter(brick.gpu for brick in host.npu_bricks) == {A[0]: 3, A[1]: 3}
    assert all(brick.function in host.functions for brick in host.npu_bricks)
    assert {brick.group_id for brick in host.npu_bricks} == {0, 1}


def test_the_platform_tells_routing_and_interrupts() -> None:
    host = read_host(tree_of(machine(REDBUD)))
    assert set(host.root_routing) == {function.host_bridge for function in host.functions.values()}
    assert {value_of(fact, None) for fact in host.root_routing.values()} == {RootRouting.TRANSLATED}
    assert value_of(host.interrupt_remapping, None) is True


def test_a_peer_that_does_not_tell_back() -> None:
    host = read_host(tree_of(machine((("g1", "n0", "g1", "n1"), ("g0", "n2", "n3", "n4")))))
    assert not between(host, A[0], A[1])
    assert not host.links_told
    assert sum("does not tell the same number" in gap.why for gap in host.gaps) == 2


def test_a_peer_without_peers() -> None:
    files = {k: v for k, v in machine(REDBUD).items() if not k.endswith("gpu@1/ibm,nvlink-peers")}
    host = read_host(tree_of(files))
    assert not host.links_told
    assert any("tells no links" in gap.why for gap in host.gaps)
    assert [x.a.number for x in host.links if x.a.function == A[1]] == [None, None, None], "its bricks still name it"


def test_a_phandle_to_nowhere() -> None:
    files = machine(REDBUD) | {f"{BASE}/gpu@0/ibm,nvlink-peers": cells(0x101, 0x200, 0x101, 0x201, 0x101, 0x999)}
    host = read_host(tree_of(files))
    assert host.links_told == {A[1]}
    assert any("0x999" in gap.why for gap in host.gaps)


def test_an_empty_socket_is_no_link() -> None:
    files = machine(REDBUD) | {f"{BASE}/gpu@0/ibm,nvlink-peers": cells(0, 0x200, 0, 0x201, 0, 0x202)}
    files = {k: v for k, v in files.items() if "gpu@1" not in k and GPUS[1] not in k}
    host = read_host(tree_of(files))
    assert host.links_told == {A[0]}
    assert {x.a.number for x in host.links if x.a.function == A[0]} == {1, 3, 5}


def test_a_brick_of_another_gpu() -> None:
    brick = "sys/firmware/devicetree/base/pciex@6030200000000/pci@0/ibm,gpu"
    host = read_host(tree_of(machine(REDBUD) | {brick: cells(0x101)}))
    assert host.links_told == {A[1]}
    assert any("another GPU" in gap.why for gap in host.gaps)


@pytest.mark.parametrize("damage", [b"", b"\0", b"\0\0\1", b"\xff" * 24, b"\0" * 24])
def test_damaged_peers_never_tell_links(damage: bytes) -> None:
    host = read_host(tree_of(machine(REDBUD) | {f"{BASE}/gpu@0/ibm,nvlink-peers": damage}))
    assert not between(host, A[0], A[1])
    assert A[1] not in host.links_told


BLOB = Path(__file__).parents[2] / "data" / "power" / "op920.dtb"


def test_a_whole_machines_blob() -> None:
    pytest.importorskip("libfdt")
    host = read_host(str(BLOB))
    assert host.platform is Platform.POWERNV
    assert not host.functions
    assert len(host.npu_bricks) == len(host.links) == 12
    assert Counter(brick.group_id for brick in host.npu_bricks) == {0: 6, 1: 6}
    assert Counter(link.b.name for link in host.links) == {f"slot GPU{n}": 3 for n in (0, 1, 3, 4)}
    assert {link.bytes_per_second for link in host.links} == {25_000_000_000}
    assert len({brick.npu for brick in host.npu_bricks}) == 2


def test_damaged_blobs() -> None:
    pytest.importorskip("libfdt")
    blob = BLOB.read_bytes()
    for damaged in (blob[:1000], blob[:4], b"", blob[:40] + b"\xff" * 4000 + blob[4040:]):
        with pytest.raises(InputError, match="damaged"):
            read_blob(damaged, name="x")
    for place in range(0, len(blob), 997):
        flipped = bytearray(blob)
        flipped[place] ^= 0xFF
        try:
            read_blob(bytes(flipped), name="x")
        except InputError:
            continue


def test_kernel_of_the_record() -> None:
    host = read_host(tree_of(machine(REDBUD)))
    assert isinstance(host.kernel, Known)
    assert (host.kernel.value.major, host.kernel.value.minor) == (5, 4)
