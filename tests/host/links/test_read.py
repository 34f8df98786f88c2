"""Records of links: found out by content, merged, and whatever the bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.host.links.interconnect import with_link_records
from atoll.host.links.read import is_link_record, read_link_records
from atoll.host.links.smi import parse_links
from atoll.host.model import EndKind, Function
from atoll.pci.address import Address
from host.links.link_hosts import (
    A100,
    DATA,
    H100,
    NCCL,
    SMI_TEXTS,
    TU104,
    far_kinds,
    gpus,
    host_of,
    matrix_of,
    real,
    why,
)


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
        SMI_TEXTS.map(str.encode),
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


@given(SMI_TEXTS)
def test_sections_have_each_link_once(text: str) -> None:
    for gpu in parse_links(text):
        told = [*(gpu.remote or {}), *gpu.rates, *gpu.unnamed]
        assert len(told) == len(set(told))


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


@pytest.mark.parametrize(
    "around",
    [
        lambda text: "".join(f"> {line}\n" for line in text.splitlines()),
        lambda text: f"<pre>{text.replace('<', '&lt;').replace('>', '&gt;')}</pre>",
        lambda text: f"Hi,\n\n```\n$ nvidia-smi topo -m\n{text}```\n",
        lambda text: "".join(f"{number:6d}\t{line}\n" for number, line in enumerate(text.splitlines(), 1)),
        lambda text: "".join(f"[1,0]<stdout>:{line}\n" for line in text.splitlines()),
        lambda text: "".join(f"2026-01-02T03:04:05.678901234Z stdout F {line}\n" for line in text.splitlines()),
        *(
            lambda text, mark=mark: f"{mark}[4m{text.partition(chr(10))[0]}{mark}[0m\n{text.partition(chr(10))[2]}"
            for mark in ("\ufffd", "\u2190", "\\u001b")
        ),
    ],
)
def test_what_posts_put_around_a_matrix_changes_nothing(around: Callable[[str], str]) -> None:
    text = real("topo-m-a100-4x-polaris-nv4/topo.txt").decode()
    plain, posted = (host_of(gpus(4), A100, one) for one in (text, around(text)))
    assert len(plain.links) == 24
    assert (posted.links, posted.links_told) == (plain.links, plain.links_told)
