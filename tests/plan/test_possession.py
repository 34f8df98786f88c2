"""Which process holds a cluster's devices."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reach_hosts import CLOSED, at, clusters, endpoint, machine, scene, slots

from atoll.fabric.topology import Topology
from atoll.host.fact import Known, value_of
from atoll.host.model import Holder, ReservedRegion
from atoll.isolation.clusters import Handover
from atoll.plan.planner import plan
from atoll.plan.possession import holder_name, holds_for
from atoll.twin import Twin

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


@pytest.mark.parametrize(
    ("holder", "how", "refused"),
    [
        (holder_name("red"), Handover.HELD, False),
        (holder_name("red"), Handover.VFIO, True),
        (holder_name("blue"), Handover.HELD, True),
        ("qemu", Handover.HELD, True),
    ],
)
def test_what_is_open_is_its_own_holders_as_long_as_its_file_says_so(holder: str, how: Handover, refused: bool) -> None:
    """Held, and handed over to stock vfio-pci by its file now: as long as it is held nobody else can open it."""
    host = machine(*slots(CLOSED, CLOSED))
    host = replace(host, holders=Known((replace(process(holder), devices=(at("01:00.0"),)),)))
    found = scene(host)
    named = clusters(found.host, red="01:00.0")
    named = replace(named, named=(replace(named.named[0], handover=how),))
    made = plan(found.topology, found.settings, named)
    assert [entry.devices for entry in made.impossible] == ([(at("01:00.0"),)] if refused else [])
    if refused:
        remedy = "release the clusters it is held for first" if holder != "qemu" else "shut its user down first"
        assert remedy in made.impossible[0].remedy


@pytest.mark.parametrize(("driver", "refused"), [("vfio-pci", False), ("nvme", True), (None, False)])
def test_virtual_functions_go_with_the_driver_of_their_physical_one(driver: str | None, refused: bool) -> None:
    card = endpoint("01:00.0", "00:01.0", driver=driver)
    virtual = endpoint("01:00.1", "00:01.0", physical="01:00.0")
    card = replace(card, virtual_functions=(virtual.address,))
    found = scene(machine(slots(CLOSED)[0], card, virtual))
    made = plan(found.topology, found.settings, clusters(found.host, red="01:00.0 01:00.1"))
    told = [entry for entry in made.impossible if "vanish when its driver is taken off" in entry.reason]
    assert [entry.devices for entry in told] == ([(card.address, virtual.address)] if refused else [])


@pytest.mark.parametrize("known", [True, False])
def test_what_may_be_behind_a_vmd_vanishes_with_its_driver(known: bool) -> None:
    """Behind which of several is not always known: then it may be this one."""
    host = scene(Twin.new("vmd-server")).host
    vmd = next(iter(Topology(host).vmds))
    functions = host.functions
    if not known:
        functions = {a: f if f.behind is None else replace(f, behind=None) for a, f in functions.items()}
    found = scene(replace(host, functions=functions))
    made = plan(found.topology, found.settings, clusters(found.host, red=str(vmd)))
    (told,) = (entry for entry in made.impossible if "is a VMD" in entry.reason)
    behind = {a for a, f in host.functions.items() if f.behind == vmd or (not known and f.behind is not None)}
    assert set(told.devices) == {vmd, *behind}
