"""Listings that count links at this end and name them at the other."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.host.model import Host
from host.links.link_hosts import A, gpus, host_of, why

H100_PCIE, H100_SXM = 0x2331, 0x2330
UP = (0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14, 15)
"""The links that such a board wires, of the eighteen of its chip."""
SWITCH = "0000:07:00.0"


def listing(gpu: int, far: str, numbers: Sequence[int]) -> str:
    lines = [f"\t Link {n}: Remote Device 0000{far.upper()}: Link {number}" for n, number in enumerate(numbers)]
    return "\n".join((f"GPU {gpu}: NVIDIA H100 (UUID: GPU-{gpu})", *lines, ""))


def status(gpu: int, up: Sequence[int]) -> str:
    lines = [f"\t Link {n}: " + ("26.562 GB/s" if n in up else "<inactive>") for n in range(18)]
    return "\n".join((f"GPU {gpu}: NVIDIA H100 (UUID: GPU-{gpu})", *lines, ""))


def numbers(host: Host) -> list[tuple[int | None, int | None]]:
    return sorted((link.a.number, link.b.number) for link in host.links)


def test_both_ends_are_called_by_the_other() -> None:
    one, other = gpus(2)
    host = host_of(gpus(2), H100_PCIE, listing(0, other, UP) + listing(1, one, UP))
    assert numbers(host) == [(n, n) for n in UP]
    assert host.links_told == {A(one), A(other)}


def test_the_status_beside_it_shows_the_same_links() -> None:
    one, other = gpus(2)
    text = listing(0, other, UP) + listing(1, one, UP) + status(0, UP) + status(1, UP)
    host = host_of(gpus(2), H100_PCIE, text)
    assert numbers(host) == [(n, n) for n in UP]
    assert {link.bytes_per_second for link in host.links} == {26_562_000_000}
    assert len(host.links_told) == 2


def test_links_to_switches_are_called_by_the_status() -> None:
    up = [n for n in range(18) if n not in (4, 11)]
    text = listing(0, SWITCH, [30 + n for n in up]) + status(0, up)
    host = host_of(gpus(1), H100_SXM, text, switches=[SWITCH])
    assert [link.a.number for link in host.links] == up
    assert [link.b.number for link in host.links] == [30 + n for n in up]
    assert not host.links_told, "two are down"


def test_numbers_that_do_not_lead_back_are_not_put_in_another_order() -> None:
    one, other = gpus(2)
    host = host_of(gpus(2), H100_PCIE, listing(0, other, UP) + listing(1, one, [*UP[1:], UP[0]]))
    assert not host.links_told
    assert "do not confirm the PCI order" in why(host)


def test_a_whole_listing_stays() -> None:
    one, other = gpus(2)
    far = [5, 4, 3, 2, 1, 0]
    host = host_of(gpus(2), 0x1DB1, listing(0, other, far) + listing(1, one, far))
    assert numbers(host) == list(enumerate(far))
    assert len(host.links_told) == 2
