"""Reach against packets on random fabrics; ``make law`` does the same for a million packets and more."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from packets import Tally, try_fabric

from atoll.twin import Twin


def test_no_packet_arrives_that_reach_denies_and_each_direct_is_shown_by_one() -> None:
    tally = Tally()
    for seed in range(40):
        tally += try_fabric(f"random-{seed}", random.Random(seed), pairs=25)
    assert not tally.wrong, tally.wrong[0]
    assert tally.packets > 50_000
    assert tally.delivered > 1_000, "hardly a packet arrived: the law was not tried"
    assert tally.directs > 100, "hardly a pair was direct: the law was not tried"


@settings(max_examples=25)
@given(st.integers(0, 10**18 - 1))
def test_a_seed_is_one_machine(seed: int) -> None:
    one, other = (Twin.new(f"random-{seed}").blueprint for _ in range(2))
    assert one == other
    buses = [(each.address.domain, each.secondary) for each in one.functions if each.secondary]
    assert len(buses) == len(set(buses)), "two bridges with the same secondary bus"
    addresses = [each.address for each in one.functions]
    assert len(addresses) == len(set(addresses))
