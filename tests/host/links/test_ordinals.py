"""Listings that count links at this end and name them at the other."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.host.links.ordinals import with_own_numbers
from atoll.host.links.smi import SmiGpu
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


def test_links_of_no_named_end_are_counted_with_the_others() -> None:
    own, chip = A(gpus(1)[0]), A(SWITCH)
    listed = SmiGpu(0, remote={0: (chip, 30), 2: (chip, 33)}, unnamed=(1,))
    found = with_own_numbers({own: listed}, {(own, 0), (own, 2), (own, 5)})[own]
    assert found.remote == {0: (chip, 30), 5: (chip, 33)}
    assert found.unnamed == (2,)


def test_numbers_of_which_records_tell_different_ones_stay() -> None:
    one, other = gpus(2)
    down = "".join(f"\t Link {n}: <inactive>\n" for n in range(12, 18))
    query = f"index, pci.bus_id\n0, {one}\n1, {other}\n"
    both = listing(0, other, UP) + listing(1, one, UP)
    lit = status(0, range(6, 18)) + status(1, range(6, 18))
    whole = listing(0, other, UP) + down + listing(1, one, UP) + down
    permuted = listing(0, other, UP) + listing(1, one, [*UP[1:], UP[0]])
    for text in (both + lit, whole, permuted):
        host = host_of(gpus(2), H100_PCIE, text, query)
        assert 4 in {end.number for link in host.links for end in (link.a, link.b)}, "as it is listed"
        assert not host.links_told


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
