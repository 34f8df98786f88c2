"""What nvidia-smi prints of links, joined to functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from atoll.host.links.read import read_link_records
from atoll.host.links.smi import parse_gpu_list
from atoll.host.links.told import merge
from atoll.host.model import EndKind
from host.links.link_hosts import (
    A30,
    A100,
    GA102,
    GB200,
    H100,
    TU104,
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


def test_the_table_of_nvidia_smi_tells_which_gpu_has_which_address() -> None:
    rows = [
        "| NVIDIA-SMI 550.54.15              Driver Version: 550.54.15      CUDA Version: 12.4     |",
        "| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |",
        f"|   0  NVIDIA GeForce RTX 3090        Off |   0000{gpus(4)[3]} Off |                  N/A |",
        "|  0%   28C    P0             88W /  350W |       0MiB /  24576MiB |      0%      Default |",
        f"|   1  NVIDIA GeForce RTX 3090        Off |   0000{gpus(4)[1]} On  |                  N/A |",
        "|    0   N/A  N/A      1234      G   /usr/lib/xorg/Xorg                            4MiB |",
    ]
    matrix, table = matrix_of(2, lambda a, b: 4), "\n".join(rows) + "\n"
    assert not host_of(gpus(4), GA102, matrix).links, "two GPUs of four: which, the matrix does not tell"
    host = host_of(gpus(4), GA102, matrix, table)
    assert pairs(host) == {(A(gpus(4)[1]), A(gpus(4)[3])): 4}
    assert host.links_told == {A(gpus(4)[1]), A(gpus(4)[3])}
    assert not any("PCI order" in link.source for link in host.links)
    assert host == host_of(gpus(4), GA102, matrix, table.replace("|   0000", "|   "))


H100_NVL, L40S = 0x2321, 0x26B9


def test_links_that_a_board_does_not_lead_out_are_not_waited_for() -> None:
    """H100 NVL and PCIe have three bridges: twelve links, and six of the die's that are always inactive."""
    idle, pair = {4, 5, 10, 11, 16, 17}, matrix_of(4, lambda a, b: 12 if a // 2 == b // 2 else 0)
    up = [link for link in range(18) if link not in idle]

    def listed(gpu: int, line: Callable[[int, int], str], *, lacking: int = 0) -> str:
        lines = (f" Link {n}: " + ("<inactive>" if n in idle or n < lacking else line(gpu, n)) for n in range(18))
        return "\n".join([f"GPU {gpu}: NVIDIA H100 NVL (UUID: GPU-{gpu})", *lines, ""])

    status = "".join(listed(gpu, lambda g, n: "26.562 GB/s") for gpu in range(4))
    remote = [listed(g, lambda g, n: f"Remote Device 0000{gpus(4)[g ^ 1]}: Link {n}") for g in range(4)]
    assert "down" not in why(host_of(gpus(4), H100_NVL, pair, status))
    for texts in ([pair], [pair, status], ["".join(remote)]):
        assert len(host_of(gpus(4), H100_NVL, *texts).links_told) == 4
        assert not host_of(gpus(4), H100, *texts).links_told, "an SXM5 has eighteen"
    seen = "index, pci.bus_id\n" + "".join(f"{n}, {a}\n" for n, a in enumerate(gpus(2)))
    others_are_vfios = host_of(gpus(4), H100_NVL, matrix_of(2, lambda a, b: 12), seen)
    assert others_are_vfios.links_told == {A(address) for address in gpus(2)}
    worn = "".join(listed(gpu, lambda g, n: "26.562 GB/s", lacking=4) for gpu in range(4))
    fewer = matrix_of(4, lambda a, b: len(up) - 4 if a // 2 == b // 2 else 0)
    assert not host_of(gpus(4), H100_NVL, fewer, worn).links_told


@pytest.mark.parametrize(
    ("board", "links"), [(0x20F5, 8), (0x2322, 8), (0x1DBA, 4), (0x233B, 18)], ids=["A800", "H800", "GV100", "H200 NVL"]
)
def test_boards_whose_links_lead_out_to_bridges(board: int, links: int) -> None:
    bridged = host_of(gpus(4), board, matrix_of(4, lambda a, b: links if a // 2 == b // 2 else 0))
    assert len(bridged.links_told) == 4
    seen = "index, pci.bus_id\n" + "".join(f"{n}, {a}\n" for n, a in enumerate(gpus(2)))
    others_are_vfios = host_of(gpus(4), board, matrix_of(2, lambda a, b: links), seen)
    assert others_are_vfios.links_told == {A(address) for address in gpus(2)}
    assert not host_of(gpus(4), board, matrix_of(4, lambda a, b: links - 1 if a // 2 == b // 2 else 0)).links_told


def test_a_reason_beside_a_name_is_no_part_of_it() -> None:
    dark = "NVML: Unable to retrieve NVLink information as all links are inActive"
    (gpu,) = parse_gpu_list(f"GPU 1: Quadro RTX 5000 (UUID: GPU-b) {dark}\n")
    assert (gpu.index, gpu.uuid) == (1, "GPU-b")


def test_ends_that_the_driver_does_not_name_are_told_by_the_fabric() -> None:
    """Of GB200 and HGX B200, whose switches are no PCI functions: each link is up, and one hint does for all."""
    ends = "".join(f"GPU {g}: x\n" + " Link 0: Remote Device FFFFFFFF:FF:FF.0: Link 0\n" for g in range(2))
    (gap,) = [gap for gap in host_of(gpus(2), 0x2901, ends).gaps if "does not name where links lead" in gap.why]
    assert "-q -x" in gap.hint
    assert "does not name" in why(host_of(gpus(2), 0x2901, ends, matrix_of(2, lambda a, b: 17)))
    whole = host_of(gpus(2), 0x2901, ends, matrix_of(2, lambda a, b: 18))
    assert whole.links_told == {A(address) for address in gpus(2)}
    assert "does not name" not in why(whole), "another record tells"


def test_chips_without_nvlink_lack_none() -> None:
    host = host_of(gpus(4), L40S, matrix_of(4, lambda a, b: 0))
    assert "shows no NVLink" not in why(host)
    assert host.links_told == {A(address) for address in gpus(4)}


def test_a_pair_of_more_gpus_may_hang_on_switches() -> None:
    """In a container, and where other GPUs are VFIO's: the switches of HGX B200 are no PCI functions."""
    b200, rows = 0x2901, "index, pci.bus_id\n" + "".join(f"{n}, {a}\n" for n, a in enumerate(gpus(2)))
    matrix = matrix_of(2, lambda a, b: 18)
    host = host_of(gpus(8), b200, matrix, rows)
    assert pairs(host) == {(A(gpus(2)[0]), A(gpus(2)[1])): 18}
    assert not host.links_told
    assert "does not show all GPUs of its kind" in why(host)
    assert len(host_of(gpus(2), b200, matrix, rows).links_told) == 2, "who sees only two cannot reach others"
    for a100_pcie in (0x20B5, 0x20F1):
        bridged = host_of(gpus(4), a100_pcie, matrix_of(2, lambda a, b: 12), rows)
        assert len(bridged.links_told) == 2, "their bridges join two"


def test_of_gpus_without_ids_a_pair_may_hang_on_switches_too() -> None:
    """lspci without ``-n`` tells none; how many links they have ``nvlink -s`` tells."""
    matrix = matrix_of(2, lambda a, b: 18)
    listed = "".join(
        f"GPU {n}: x (UUID: GPU-{n})\n" + "".join(f" Link {m}: 50 GB/s\n" for m in range(18)) for n in (0, 1)
    )
    rows = "index, pci.bus_id\n" + "".join(f"{n}, {a}\n" for n, a in enumerate(gpus(2)))
    texts = {name: text.encode() for name, text in (("m", matrix), ("s", listed), ("r", rows))}
    functions = host_of((*gpus(8), "0000:00:00.0"), 0x2901).functions
    hidden = {
        address: replace(function, vendor=0xFFFF, device=0xFFFF, possible_ids=((0x10DE, None),))
        for address, function in functions.items()
    }
    other = A("0000:00:00.0")
    hidden[other] = replace(hidden[other], class_code=0x060000)
    first, second, third = (A(address) for address in gpus(3))
    virtual = replace(hidden[third], physical_function=first)
    for seen, told in ((hidden, 0), ({a: hidden[a] for a in (first, second, other)} | {third: virtual}, 2)):
        assert len(merge(read_link_records(texts, seen).sources).told) == told


def test_records_that_name_gpus_differently_are_no_reason_to_guess() -> None:
    def query(*order: int) -> str:
        rows = "".join(f"{n}, 0000{gpus(2)[place]}\n" for n, place in enumerate(order))
        return f"index, pci.bus_id\n{rows}"

    matrix = matrix_of(2, lambda a, b: 12)
    assert host_of(gpus(2), A100, matrix, query(1, 0), query(1, 0)).links
    host = host_of(gpus(2), A100, matrix, query(0, 1), query(1, 0))
    assert not host.links, "not by PCI order either"
    assert "records disagree about which GPU has which address" in why(host)


def test_status_says_how_many_links_there_are() -> None:
    def status(down: int) -> str:
        lines = [f" Link {n}: " + ("<inactive>" if n < down else "25 GB/s") for n in range(9 + down)]
        return "".join(f"GPU {g}: A100 (UUID: GPU-{g})\n" + "\n".join(lines) + "\n" for g in range(4))

    assert len(host_of(gpus(4), A100, matrix_of(4, lambda a, b: 3), status(0)).links_told) == 4
    assert not host_of(gpus(4), A100, matrix_of(4, lambda a, b: 3), status(1)).links_told
    against = host_of(gpus(4), A100, matrix_of(4, lambda a, b: 4), status(0))
    assert not against.links_told
    assert "nvlink -s" in why(against)


def test_addresses_without_numbers() -> None:
    def peers(*links: tuple[int, int]) -> str:
        lines = []
        for gpu in range(4):
            lines.append(f"GPU {gpu}: Tesla V100-SXM2-32GB (UUID: GPU-{gpu})")
            ends = [b if a == gpu else a for a, b in links if gpu in (a, b)]
            lines += [f"\t Link {n}: 0000{gpus(4)[end]}" for n, end in enumerate(ends)]
        return "\n".join(lines)

    twice = {(0, 1), (2, 3)}
    host = host_of(gpus(4), GA102, peers(*twice, *twice, (0, 2), (0, 3), (1, 2), (1, 3)))
    assert sorted(pairs(host).values()) == [1, 1, 1, 1, 2, 2]
    double = {tuple(A(gpus(4)[g]) for g in pair) for pair in twice}
    assert all(link.pairing_told is ((link.a.function, link.b.function) not in double) for link in host.links)
    assert len(host.links_told) == 4
    assert {(end.function, end.number) for link in host.links for end in (link.a, link.b)} == {
        (A(gpus(4)[g]), n) for g in range(4) for n in range(4)
    }


@pytest.mark.parametrize("far", ["FFFFFFFF:FF:FF.0", "00000000:00:00.0"])
def test_ends_that_the_driver_does_not_name(far: str) -> None:
    text = "".join(f"GPU {g}: x\n Link 0: Remote Device {far}: Link {g}\n" for g in range(2))
    host = host_of([*gpus(2), "0000:00:00.0"], H100, text, f"index, pci.bus_id\n0, {gpus(2)[0]}\n1, {gpus(2)[1]}\n")
    assert far_kinds(host) == {EndKind.UNKNOWN: 2}
    assert not host.links_told
    assert "does not name" in why(host)


def test_records_that_name_no_ends_show_the_same_links() -> None:
    """NCCL, ``nvlink -R`` and ``-s`` of HGX B200: the first without numbers, the last with rates."""
    pci = '<pci busid="{}" class="0x030200" vendor="0x10de" device="0x2901"><gpu dev="{}">{}</gpu></pci>'
    link = '<nvlink target="fffffff:ff:ff.0" count="18" tclass="0x068000"/>'
    listed = "".join(pci.format(place, n, link) for n, place in enumerate(gpus(2)))
    nccl = f'<system version="1"><cpu numaid="0">{listed}</cpu></system>'
    ends, rates = (
        "".join(f"GPU {g}: x\n" + "".join(f" Link {n}: {what}\n" for n in range(18)) for g in range(2))
        for what in ("Remote Device FFFFFFFF:FF:FF.0: Link 0", "53.125 GB/s")
    )
    query = f"index, pci.bus_id\n0, {gpus(2)[0]}\n1, {gpus(2)[1]}\n"
    for texts in ((nccl, ends, rates), (rates, ends, nccl)):
        host = host_of(gpus(2), 0x2901, *texts, query)
        assert far_kinds(host) == {EndKind.UNKNOWN: 36}
        assert {link.a.number for link in host.links} == set(range(18))
        assert {link.bytes_per_second for link in host.links} == {53_125_000_000}
        switched = host_of(gpus(2), 0x2901, *texts, query, matrix_of(2, lambda *_: 18))
        assert len(pairs(switched)) == 1
        assert len(switched.links) == 18


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


@pytest.mark.parametrize("cluster", ["00000000-0000-0000-0000-000000000000", "N/A"])
def test_a_fabric_of_no_cluster_does_not_tell_whom_it_joins(cluster: str) -> None:
    """Of HGX H100, whatever its partitions are: the switches are not named, so they may be two."""
    fabric = f"<fabric><state>Completed</state><status>Success</status><clusterUuid>{cluster}</clusterUuid>"
    queried = "<nvidia_smi_log>"
    for address in gpus(2):
        queried += f'<gpu id="{address}">{fabric}<cliqueId>0</cliqueId></fabric></gpu>'
    host = host_of(gpus(2), H100, f"{queried}</nvidia_smi_log>")
    assert {(link.b.kind, link.b.name) for link in host.links} == {(EndKind.SWITCH, "")}
    switched = host_of(gpus(2), H100, f"{queried}</nvidia_smi_log>", matrix_of(2, lambda a, b: 18))
    assert {link.b.name for link in switched.links} == {"NVSwitch that joins GPU 0 to GPU 1"}
    assert len(switched.links) == 36


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


def test_a_query_of_some_gpus_numbers_none() -> None:
    """``nvidia-smi -q -x -i 1,2``: the first that it shows is not GPU 0."""
    whole = host_of(gpus(4), A30, BRIDGED, queried(range(4), 4))
    assert len(whole.links_told) == 4
    # The matrix is of a machine with other addresses than the PCI order has.
    some = host_of([*gpus(4), "0000:30:00.0"], A30, BRIDGED, queried([1, 2], 5))
    assert not some.links_told
    assert not some.links


def test_a_listing_of_states_that_was_cut() -> None:
    """The last GPU's section ends after as many links as the matrix counts."""
    matrix = "  GPU0 GPU1\nGPU0 X NV1\nGPU1 NV1 X\n"
    states = "GPU 0: x\n" + "".join(f"  Link {n}: {'25 GB/s' if not n else '<inactive>'}\n" for n in range(6))
    assert not host_of(gpus(2), V100, matrix, f"{states}GPU 1: x\n  Link 0: 25 GB/s\n").links_told
