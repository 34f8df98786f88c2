"""Random clusters on random fabrics, from the first proof to the release, with attacks as the measure."""

from __future__ import annotations

from lots import Lots, try_lot

SEEDS = (2, 13, 23, 58, 61)
"""Fabrics where some clusters can be proven apart, and some cannot be at all."""


def test_proofs_hold_against_attacks_and_everything_comes_back() -> None:
    lots = Lots()
    for seed in SEEDS:
        try_lot(seed, lots)
    assert not lots.wrong, lots.wrong[0]
    assert lots.proven, "nothing was proven: the law was not tried"
    assert lots.refused, "nothing was impossible"
    assert lots.violations > 10, "hardly a violation was to be shown"
    assert lots.reached > 1000, "hardly anything arrived"
