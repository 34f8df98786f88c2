"""Which process holds a cluster's devices."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reach_hosts import CLOSED, at, clusters, machine, scene, slots

from atoll.host.fact import Known, value_of
from atoll.host.model import Holder, ReservedRegion
from atoll.isolation.clusters import Handover
from atoll.plan.planner import plan
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


def test_another_users_word_is_not_taken() -> None:
    process_of_root = replace(process(holder_name("red")), root=True)
    assert holds_for(process_of_root, "red")
    assert not holds_for(replace(process_of_root, root=False), "red")


@given(_NAMES, _NAMES)
def test_a_name_fits_and_is_one_cluster_s(one: str, other: str) -> None:
    assert len(holder_name(one)) <= 15
    assert holds_for(process(holder_name(one)), one)
    if len(other) <= 4 and one != other:
        assert not holds_for(process(holder_name(one)), other)


@pytest.mark.parametrize(
    ("kind", "how", "refused"),
    [
        ("direct", Handover.VFIO, True),
        ("direct", Handover.HELD, True),
        ("direct", Handover.KERNEL, False),
        ("direct-relaxable", Handover.HELD, False),
        ("msi", Handover.HELD, False),
    ],
)
def test_what_firmware_wants_mapped_is_given_to_no_user(kind: str, how: Handover, refused: bool) -> None:
    """The kernel refuses it at the last moment (``require_direct``): nothing is planned that would be rolled back."""
    host = machine(*slots(CLOSED, CLOSED))
    region = ReservedRegion(0x7D000000, 0x7F7FFFFF, kind)
    groups = {
        number: replace(group, reserved_regions=Known((region,) if at("01:00.0") in group.members else ()))
        for number, group in value_of(host.groups, {}).items()
    }
    found = scene(replace(host, groups=Known(groups)))
    named = clusters(found.host, red="01:00.0", blue="02:00.0")
    named = replace(named, named=tuple(replace(c, handover=how, driver="d") for c in named.named))
    made = plan(found.topology, found.settings, named)
    assert [entry.devices for entry in made.impossible] == ([(at("01:00.0"),)] if refused else [])
    assert bool(made.steps) is not refused
