"""``nvidia-smi nvlink -R`` joined to functions, and what holds when sources disagree."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given

from atoll.host import read_host
from atoll.host.links.smi import parse_gpu_query, parse_links
from atoll.host.links.speed import nvlink_speed
from atoll.host.model import EndKind, Host
from atoll.pci.address import Address
from host.handmade import function_files, tree_of
from host.links.link_hosts import SMI_TEXTS
from host.links.witherspoon import GPUS, REDBUD, machine

A = Address.parse
TU102 = 0x1E30
"""It has two links."""
QUERY = "index, pci.bus_id, uuid\n"


def smi(**links: str) -> str:
    """``g0="a:1 - b:2"``: per GPU, remote ends in link order; ``-`` stands for a link that is down."""
    lines = []
    for gpu, ends in links.items():
        lines.append(f"GPU {gpu[1:]}: Tesla V100-SXM2-32GB (UUID: GPU-{gpu[1:]})")
        for number, end in enumerate(ends.split()):
            bus, _, far = end.partition(":")
            lines.append(
                f"\t Link {number}: "
                + ("<inactive>" if end == "-" else f"Remote Device 00000000:{bus}:00.0: Link {far}")
            )
    return "\n".join(lines) + "\n"


def host_of(
    text: str, *buses: str, query: bool = True, device: int = TU102, more: Mapping[str, str | bytes] | None = None
) -> Host:
    files: dict[str, str | bytes] = {"records/nvidia-smi-nvlink-R.txt": text}
    for bus in buses:
        files |= function_files(f"0000:{bus}:00.0", device=device)
    if query:
        rows = [f"{n}, 00000000:{bus.upper()}:00.0, GPU-{n}" for n, bus in enumerate(buses)]
        files["records/nvidia-smi-query-gpu.csv"] = QUERY + "\n".join(rows) + "\n"
    return read_host(tree_of(files | dict(more or {})))


def pairs(host: Host) -> list[tuple[str, int | None, str, int | None]]:
    return [(str(x.a.function)[5:7], x.a.number, str(x.b.function)[5:7], x.b.number) for x in host.links]


SOUND = smi(g0="0b:1 0b:0", g1="0a:1 0a:0")


def test_a_listing_is_called_by_its_option() -> None:
    bare = SOUND.replace("Remote Device ", "").replace(".0: Link 0", ".0").replace(".0: Link 1", ".0")
    assert {link.source.partition(" (")[0] for link in host_of(bare, "0a", "0b").links} == {"nvidia-smi nvlink -p"}
    assert {link.source.partition(" (")[0] for link in host_of(SOUND, "0a", "0b").links} == {"nvidia-smi nvlink -R"}


@pytest.mark.parametrize("query", [True, False])
def test_links_with_numbers_at_both_ends(query: bool) -> None:
    host = host_of(SOUND, "0a", "0b", query=query)
    assert pairs(host) == [("0a", 0, "0b", 1), ("0a", 1, "0b", 0)]
    assert host.links_told == {A("0000:0a:00.0"), A("0000:0b:00.0")}
    assert {link.bytes_per_second for link in host.links} == {25_000_000_000}
    assert all(link.pairing_told for link in host.links)
    assert ("PCI order" in host.links[0].source) is not query


def test_the_query_beats_the_order() -> None:
    rows = {"records/nvidia-smi-query-gpu.csv": f"{QUERY}0, 00000000:0A:00.0, x\n"}
    host = host_of(SOUND, "0a", "0b", query=False, more=rows)
    assert host.links_told == set(), "GPU 1 has no address, so what GPU 0 says is not confirmed"
    assert host.links


def test_addresses_by_uuid_of_the_driver() -> None:
    files = {
        f"proc/driver/nvidia/gpus/0000:{bus}:00.0/information": f"Model: \t x\nGPU UUID: \t GPU-{n}\n"
        for n, bus in enumerate(("0b", "0a"))
    }
    host = host_of(smi(g0="0a:0 0a:1", g1="0b:0 0b:1"), "0a", "0b", query=False, more=files)
    assert host.links_told == {A("0000:0a:00.0"), A("0000:0b:00.0")}
    assert pairs(host) == [("0a", 0, "0b", 0), ("0a", 1, "0b", 1)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (smi(g0="0b:1 0b:0", g1="0a:0 0a:1"), "does not lead back"),
        (smi(g0="0b:0 -", g1="0a:0 -"), "not up"),
        (smi(g0="0b:0"), "does not show"),
        (smi(g0="0b:0 1f:3", g1="0a:0"), "no function of this host"),
        (smi(g0="", g1="0a:0"), "no link"),
    ],
)
def test_what_does_not_tell_all_links(text: str, reason: str) -> None:
    host = host_of(text, "0a", "0b")
    assert A("0000:0a:00.0") not in host.links_told
    assert any(reason in gap.why for gap in host.gaps), host.gaps


def test_order_alone_is_not_believed_without_confirmation() -> None:
    host = host_of(smi(g0="07:46 07:47"), "0a", "07", query=False)
    assert not host.links
    assert not host.links_told
    assert any("do not confirm" in gap.why for gap in host.gaps)


def test_links_that_are_down_tell_nothing_against_the_order() -> None:
    text = smi(g0="0b:0 -", g1="0a:0 -", g2="", g3="- -")
    host = host_of(text, "0a", "0b", "0c", "0d", query=False)
    assert pairs(host) == [("0a", 0, "0b", 0)]
    assert not host.links_told
    down = {gap.what: gap.why.rpartition(": ")[2] for gap in host.gaps if "not up" in gap.why}
    assert down == {"links of 2 functions (0000:0a:00.0 first)": "1", "links of 0000:0d:00.0": "0, 1"}
    assert any("no link" in gap.why for gap in host.gaps)
    assert not host_of(smi(g0="0b:0 -", g1="0c:0 -", g2="- -"), "0a", "0b", "0c", query=False).links


@pytest.mark.parametrize("word", ["Replay Errors: 0", "Data Tx: 5218 KiB", "Effective BER: 15e-255"])
def test_what_links_counted_is_no_state_of_theirs(word: str) -> None:
    counted = "".join(f"GPU {n}: Tesla V100 (UUID: GPU-{n})\n\t Link 0: {word}\n\t Link 1: {word}\n" for n in range(2))
    assert host_of(SOUND + counted, "0a", "0b", query=False) == host_of(SOUND, "0a", "0b", query=False)
    alone = host_of(counted, "0a", "0b", query=False)
    assert not alone.links
    assert not any("NVLinks" in gap.what for gap in alone.gaps)
    assert parse_links(SOUND.replace("Device 00000000:0a", "Device 0000000", 1))[1].down == (0,), "damaged, not counted"


def test_switches() -> None:
    switch = function_files("0000:07:00.0", device=0x22A3, kind=0x068000)
    text = smi(g0="07:46 07:47", g1="07:40 07:41")
    host = host_of(text, "0a", "0b", more=switch)
    assert {link.b.kind for link in host.links} == {EndKind.SWITCH}
    assert [link.b.number for link in host.links] == [46, 47, 40, 41]
    assert len(host.links_told) == 2


def test_nvidia_smi_tells_the_pairing_that_the_device_tree_does_not() -> None:
    def ends(gpu: int, bricks: int) -> str:
        far = {0: "4", 2: "2", 4: "0"}
        lines = [f"GPU {gpu}: Tesla V100 (UUID: GPU-{gpu})"]
        for number in range(6):
            other = f"{GPUS[1 - gpu].replace('0004', '00000004')}: Link {far.get(number)}"
            brick = bricks + number // 2
            npu = f"00000007:00:{gpu:02x}.{brick}: Link 0"
            lines.append(f"  Link {number}: Remote Device {npu if number % 2 else other}")
        return "\n".join(lines) + "\n"

    rows = "".join(f"{n}, 0000{GPUS[n]}, GPU-{n}\n" for n in range(2))
    files = machine(REDBUD) | {
        "records/nvidia-smi-nvlink-R.txt": ends(0, 0) + ends(1, 3),
        "records/nvidia-smi-query-gpu.csv": QUERY + rows,
    }
    host = read_host(tree_of(files))
    peers = [link for link in host.links if link.b.kind is EndKind.FUNCTION]
    assert [(link.a.number, link.b.number) for link in peers] == [(0, 4), (2, 2), (4, 0)]
    assert all(link.pairing_told for link in peers)
    assert host.links_told == {A(GPUS[0]), A(GPUS[1])}
    contradicting = files | {
        "records/nvidia-smi-nvlink-R.txt": (ends(0, 0) + ends(1, 3)).replace("07:00:00.1", "07:00:01.3")
    }
    assert A(GPUS[0]) not in read_host(tree_of(contradicting)).links_told


def test_a_record_of_other_links_makes_both_unknown() -> None:
    rows = "".join(f"{n}, 0000{GPUS[n]}, GPU-{n}\n" for n in range(2))
    far = [gpu.replace("0004", "00000004") for gpu in GPUS]
    text = (
        f"GPU 0: V100\n Link 1: Remote Device {far[1]}: Link 1\nGPU 1: V100\n Link 1: Remote Device {far[0]}: Link 1\n"
    )
    files = machine(REDBUD) | {
        "records/nvidia-smi-nvlink-R.txt": text,
        "records/nvidia-smi-query-gpu.csv": QUERY + rows,
    }
    host = read_host(tree_of(files))
    assert not host.links_told
    assert sum("different ends" in gap.why for gap in host.gaps) == 2


def test_parsing() -> None:
    text = "GPU 0: NVIDIA H100 80GB HBM3\n         Link 0: Remote Device 00000000:07:00.0: Link 46\n"
    (gpu,) = parse_links(text)
    assert (gpu.index, gpu.uuid, gpu.remote, gpu.down) == (0, "", {0: (A("0000:07:00.0"), 46)}, ())
    (twice,) = parse_links(text + text.splitlines()[1].replace("46", "47"))
    assert twice.down == (0,), "a link told twice is not told"
    (row,) = parse_gpu_query("pci.bus_id, index\n00000001:0A:00.0, 3\n")
    assert (row.index, row.address) == (3, A("0001:0a:00.0"))
    assert parse_gpu_query("") == ()


@given(SMI_TEXTS)
def test_any_text_parses(text: str) -> None:
    for gpu in (*parse_links(text), *parse_gpu_query(text)):
        assert 0 <= gpu.index <= 4096


def test_speeds() -> None:
    assert nvlink_speed(0x10DE, 0x15F9) == 20_000_000_000
    assert (
        nvlink_speed(0x10DE, 0x1DB1) == nvlink_speed(0x10DE, 0x20B0) == nvlink_speed(0x10DE, 0x2330) == 25_000_000_000
    )
    assert nvlink_speed(0x10DE, 0x2901) == 50_000_000_000
    assert nvlink_speed(0x1002, 0x1DB1) is None


@pytest.mark.parametrize("device", [0x1DB5, 0x20B0])
def test_one_link_of_each_is_not_all_links(device: int) -> None:
    """``nvidia-smi nvlink -R -l 0``, or a text that was cut: GPUs 0 and 2 may be joined by another link."""
    text = smi(g0="0b:0", g1="0a:0", g2="0d:0", g3="0c:0")
    host = host_of(text, "0a", "0b", "0c", "0d", device=device)
    assert len(host.links) == 2
    assert not host.links_told
    assert any("of at most" in gap.why for gap in host.gaps), host.gaps


def test_of_an_unknown_chip_no_listing_shows_all_links() -> None:
    """Some drivers leave out links that are down and count the others."""
    host = host_of(smi(g0="0b:0 0b:1", g1="0a:0 0a:1"), "0a", "0b", device=0x1234)
    assert not host.links_told
    assert len(host.links) == 2
    assert any("how many links it has is not known; the record shows 2" in gap.why for gap in host.gaps), host.gaps
