"""Which process holds a cluster's devices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.host.fact import Known
from atoll.host.model import Holder
from atoll.plan.possession import holder_name, holds_for

_NAMES = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", min_size=1, max_size=32)


def process(name: str) -> Holder:
    # As the kernel keeps it.
    return Holder(7, name[:15], (), (), Known(1))


@pytest.mark.parametrize(("one", "other"), [("tenant-a", "tenant-b"), ("tena", "tenant"), ("a" * 20, "a" * 21)])
def test_clusters_that_begin_alike_have_holders_of_their_own(one: str, other: str) -> None:
    assert holds_for(process(holder_name(one)), one)
    assert holds_for(process(holder_name(other)), other)
    assert not holds_for(process(holder_name(one)), other)
    assert not holds_for(process(holder_name(other)), one)


def test_short_names_stand_as_they_are() -> None:
    assert holder_name("red") == "atoll-hold:red"
    assert not holds_for(None, "red")


@given(_NAMES, _NAMES)
def test_a_name_fits_and_is_one_cluster_s(one: str, other: str) -> None:
    assert len(holder_name(one)) <= 15
    assert holds_for(process(holder_name(one)), one)
    if len(other) <= 4 and one != other:
        assert not holds_for(process(holder_name(one)), other)
