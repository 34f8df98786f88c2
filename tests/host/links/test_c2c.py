"""C2C links as ``nvidia-smi c2c -s`` prints them."""

from __future__ import annotations

from atoll.host.links.chips import has_c2c
from atoll.host.model import LinkKind
from atoll.pci.vendor import NVIDIA
from host.links.link_hosts import GB200, H100, A, gpus, host_of, matrix_of, why


def _section(gpu: int, word: str, rates: list[str]) -> str:
    lines = [f"    {word} {number}: {rate}" for number, rate in enumerate(rates)]
    return "\n".join((f"GPU {gpu}: NVIDIA GB200 (UUID: GPU-{gpu})", *lines, ""))


def test_how_many_are_up_and_how_fast() -> None:
    up = ["44.712 GB/s"] * 3
    host = host_of(gpus(2), GB200, _section(0, "C2C Link", [*up, "<inactive>"]) + _section(1, "C2C Link", up))
    assert {link.kind for link in host.links} == {LinkKind.C2C}
    assert [link.a.function for link in host.links] == [A(place) for place in gpus(2) for _ in up]
    assert {(link.a.number, link.bytes_per_second, link.pairing_told) for link in host.links} == {
        (None, 44_712_000_000, False)
    }
    assert not host.links_told


def test_they_are_no_nvlinks() -> None:
    """In one text with those, whose numbers are the same."""
    c2c = _section(0, "C2C Link", ["44.712 GB/s"]) + _section(1, "C2C Link", ["44.712 GB/s"])
    nvlinks = "".join(_section(gpu, "Link", ["53.125 GB/s"] * 18) for gpu in range(2))
    beside = host_of(gpus(2), GB200, matrix_of(2, lambda *_: 18), nvlinks + c2c)
    lacking = host_of(gpus(2), GB200, matrix_of(2, lambda *_: 18), nvlinks)
    assert beside.links_told == set(map(A, gpus(2)))
    assert not lacking.links_told
    assert "no source tells its C2C link" in why(lacking)


def test_a_gpu_without_an_address() -> None:
    host = host_of(gpus(1), H100, _section(0, "C2C Link", ["44.712 GB/s"]) + _section(1, "C2C Link", ["1 GB/s"]))
    assert not host.links
    assert "no record tells its address" in why(host)


def test_what_is_newer_than_the_tables_may_have_them() -> None:
    assert has_c2c(NVIDIA, 0x307F), "VR200"
    assert has_c2c(NVIDIA, 0x3100)
    assert not has_c2c(NVIDIA, 0x3182), "B300"
