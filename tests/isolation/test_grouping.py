"""Why a group is big, whose doing it is, and what would split it: each change that is offered does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from grouping_hosts import grouping_of, pasted
from reach_hosts import CLOSED, OFF, acs, at, endpoint, machine, port, scene, slots, switch
from running import CAPTURES

from atoll.cli.session import open_session
from atoll.fabric.answer import Answer
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function, Host
from atoll.isolation.grouping import ChangeKind, Grouping, grouping
from atoll.isolation.groups import predict
from atoll.isolation.reach import Reach
from atoll.isolation.spoilers import Cause, Rule
from atoll.pci.acs import Acs, AcsFlag
from atoll.pci.express import PcieLink
from atoll.pci.header import PortType


def told(host: Host, one: str = "03:00.0") -> Grouping:
    return grouping_of(host, one)


def unrecorded(host: Host) -> Host:
    """The host as one pasted lspci shows it: no groups, and no IOMMU."""
    return replace(pasted(host), iommu_units=())


def acs_off(host: Host) -> Host:
    """The host with all ACS control bits clear, as the kernel leaves them where it uses no IOMMU."""
    functions = dict(host.functions)
    for address, function in functions.items():
        if (found := value_of(function.acs, None)) is not None:
            functions[address] = replace(function, acs=Known(replace(found, control=AcsFlag(0))))
    return replace(host, functions=functions)


def predicted(*functions: Function, **more: object) -> Host:
    return unrecorded(machine(*functions, **more))  # type: ignore[arg-type]


def test_alone() -> None:
    found = told(predicted(*slots(CLOSED, CLOSED)), "01:00.0")
    assert found.members == (at("01:00.0"),)
    assert (found.spoilers, found.changes, found.slots) == ((), (), None)


def test_what_leaves_the_recorded_group_as_it_is_is_no_change() -> None:
    """ACS of the root port went off after the groups had formed: on again, it keeps others out, and parts nobody."""
    behind = [
        port("01:00.0", 2, "00:01.0", PortType.PCIE_TO_PCI, acs=None),
        endpoint("02:01.0", "01:00.0", port_type=PortType.CONVENTIONAL),
        endpoint("02:02.0", "01:00.0", port_type=PortType.CONVENTIONAL),
    ]
    host = machine(port("00:01.0", 1, acs=OFF), *(replace(f, group=Known(7)) for f in behind))
    found = told(host, "02:01.0")
    assert found.members == (at("01:00.0"), at("02:01.0"), at("02:02.0"))
    assert at("00:01.0") in found.predicted
    assert found.changes == ()
    # Where no group is recorded the port would part from them, which frees no function.
    assert told(unrecorded(host), "02:01.0").changes == ()


def test_a_group_that_only_loses_its_port_is_not_split() -> None:
    """A switch's port whose ACS is off is in the group of the card below it, and stays with the kernel either way."""
    found = told(predicted(*switch(OFF, OFF)), "03:00.0")
    assert found.members == (at("02:00.0"), at("03:00.0"))
    assert found.changes == ()


def test_a_vmd_that_the_record_does_not_show_holds_its_segment_together() -> None:
    found = told(predicted(endpoint("10000:e0:06.0", None), endpoint("10000:e1:00.0", None)), "10000:e1:00.0")
    (spoiler,) = found.spoilers
    assert (spoiler.address, spoiler.rule) == (at("10000:e0:06.0"), Rule.SEGMENT)
    assert spoiler.what == "shares one requester id with all of its segment"
    assert "whatever is set" in spoiler.because


def test_a_root_port_without_acs() -> None:
    found = told(predicted(*slots(None, CLOSED, None), port("00:04.0", 9, acs=CLOSED)), "01:00.0")
    assert found.members == (at("00:01.0"), at("01:00.0"))
    (spoiler,) = found.spoilers
    assert (spoiler.address, spoiler.rule, spoiler.cause) == (at("00:01.0"), Rule.PATH, Cause.HARDWARE)
    assert found.changes == ()
    assert found.slots is None, "a port in the group is nothing to VFIO"


def test_no_slot_is_where_the_switch_of_a_card_is() -> None:
    """The root port's group has what is below it alone, and the card is that already."""
    found = told(predicted(*switch(OFF, OFF, root=OFF)))
    assert found.slots is not None
    assert found.slots.places == ()


def test_another_slot_for_a_card_that_shares() -> None:
    multi = [replace(port(f"00:01.{n}", 1 + n, acs=None), multifunction=Known(True)) for n in range(2)]
    cards = [endpoint(f"{1 + n:02x}:00.0", f"00:01.{n}") for n in range(2)]
    rest = [
        port("00:02.0", 3, acs=CLOSED),
        endpoint("03:00.0", "00:02.0"),
        port("00:03.0", 4, acs=CLOSED),
        # Without redirection, and yet a function of no slot that others stand in: only the port joins the card's group.
        port("00:04.0", 5, acs=OFF),
        port("00:06.0", 8, acs=None),
        endpoint("08:00.0", "00:06.0"),
        # Two that share a group, with a card each.
        *[replace(port(f"00:08.{n}", 9 + n, acs=None), multifunction=Known(True)) for n in range(2)],
        *[endpoint(f"{9 + n:02x}:00.0", f"00:08.{n}") for n in range(2)],
        replace(port("00:05.0", 6, acs=CLOSED), slot=Known(False)),
        # A chipset's host bridge: the root port's end of DMI, with nothing below it.
        replace(port("00:00.0", 7, acs=CLOSED), bridge=Known(None)),
    ]
    found = told(predicted(*multi, *cards, *rest), "01:00.0")
    assert set(found.members) == {f.address for f in (*multi, *cards)}
    assert [s.address for s in found.spoilers] == [at("00:01.0"), at("00:01.1")]
    assert found.slots is not None
    assert found.slots.card == (at("01:00.0"),)
    places = [at("00:03.0"), at("00:04.0"), at("00:02.0"), at("00:06.0")]
    assert [p.port for p in found.slots.places] == places, "empty ones first, then those that isolate"
    assert [p.isolates for p in found.slots.places] == [True, False, True, False]
    assert found.slots.places[2].taken_by == (at("03:00.0"),)


@pytest.mark.parametrize(
    ("line", "cause", "kinds"),
    [
        ("", Cause.CHANGED, [ChangeKind.ACS]),
        ("pci=disable_acs_redir=02:00.0;02:01.0", Cause.OPTION, [ChangeKind.KERNEL, ChangeKind.ACS]),
        ("pci=config_acs=xx000x0@02:00.0", Cause.OPTION, [ChangeKind.KERNEL, ChangeKind.ACS]),
    ],
)
def test_bits_that_are_off(line: str, cause: Cause, kinds: list[ChangeKind]) -> None:
    functions = [replace(f, group=Known(7)) for f in switch(OFF, OFF)]
    ports = {f.address: replace(f, multifunction=Known(True)) for f in functions if f.address.bus == 2}
    host = machine(*(ports.get(f.address, f) for f in functions), command_line=line)
    found = told(host)
    assert found.spoilers[0].address == at("02:00.0")
    assert found.spoilers[0].cause is cause
    assert [change.kind for change in found.changes] == kinds
    assert found.changes[-1].group == (at("03:00.0"),)
    assert at("02:00.0") in found.changes[-1].words


def test_off_because_no_iommu_may_have_been_in_use() -> None:
    found = told(predicted(*switch(OFF, OFF, root=OFF)))
    assert found.spoilers[0].cause is Cause.KERNEL
    assert [change.kind for change in found.changes] == [ChangeKind.KERNEL, ChangeKind.ACS]


def test_no_more_is_set_than_splits() -> None:
    """What is below another port of the switch reaches the card by that port; what is below a switch there does not."""
    inner = [
        port("04:00.0", 5, "02:01.0", PortType.UPSTREAM, acs=None),
        *(port(f"05:0{n}.0", 6 + n, "04:00.0", PortType.DOWNSTREAM, acs=OFF) for n in range(2)),
        *(endpoint(f"0{6 + n}:00.0", f"05:0{n}.0") for n in range(2)),
    ]
    host = predicted(*switch(OFF, OFF, root=OFF)[:-1], *inner)
    change = told(host).changes[-1]
    assert set(change.words) == {at("00:01.0"), at("02:00.0"), at("02:01.0")}
    assert change.group == (at("03:00.0"),)


def test_what_is_set_splits_in_fact_too() -> None:
    """With its own port closed the card has a group of its own, and the others reach it as before."""
    host = predicted(*switch(OFF, OFF, OFF, root=OFF))
    found = scene(host)
    change = grouping(found.topology, found.settings, at("03:00.0")).changes[-1]
    settings = found.settings
    for address, word in change.words.items():
        settings = settings.with_acs(address, word)
    after = Reach(found.topology, settings)
    for other in ("04:00.0", "05:00.0"):
        assert found.reach().answer(at(other), at("03:00.0")).answer is Answer.DIRECT
        assert after.answer(at(other), at("03:00.0")).answer < Answer.DIRECT
        assert after.identity(at(other), at("03:00.0")).answer is Answer.BLOCKED


def test_what_lets_traffic_past_goes_off() -> None:
    loose = acs("EC DT", "SV TB RR CR UF EC DT")
    change = told(predicted(*switch(loose, CLOSED, root=OFF))).changes[-1]
    assert change.cleared[at("02:00.0")] == loose.control


def test_what_nothing_splits() -> None:
    bridge = port("01:00.0", 2, "00:01.0", PortType.PCIE_TO_PCI, acs=None)
    cards = [endpoint(f"02:0{n}.0", "01:00.0", port_type=PortType.CONVENTIONAL) for n in range(2)]
    found = told(predicted(port("00:01.0", 1), bridge, *cards), "02:00.0")
    assert (found.changes, found.slots) == ((), None)
    assert Rule.ALIAS in {s.rule for s in found.spoilers}
    pair = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True) for n in range(2)]
    found = told(predicted(port("00:01.0", 1), *pair), "01:00.0")
    assert (found.changes, found.slots) == ((), None)
    assert [s.rule for s in found.spoilers] == [Rule.SLOT, Rule.SLOT]


def test_what_was_not_read() -> None:
    hidden: Acs | Unknown | None = Unknown("cut to 64 bytes")
    found = told(predicted(*slots(hidden, None)), "01:00.0")
    assert found.undetermined
    assert not [s for s in found.spoilers if s.cause is Cause.HARDWARE]


def test_an_override_is_fiction() -> None:
    multi = [replace(port(f"00:01.{n}", 1 + n, acs=None), multifunction=Known(True)) for n in range(2)]
    cards = [endpoint(f"{1 + n:02x}:00.0", f"00:01.{n}") for n in range(2)]
    found = told(predicted(*multi, *cards, command_line="pcie_acs_override=downstream,multifunction"), "01:00.0")
    assert found.override
    assert found.members == (at("01:00.0"),)
    assert set(found.real) == {f.address for f in (*multi, *cards)}
    assert not found.real_undetermined
    hidden = [replace(f, acs=Unknown("first line only"), port_type=Unknown("first line only")) for f in multi]
    line = "pcie_acs_override=downstream,multifunction"
    assert told(predicted(*hidden, *cards, command_line=line), "01:00.0").real_undetermined
    unserved = [replace(f, iommu=Unknown("not shown"), group=Unknown("not shown")) for f in (*multi, *cards)]
    shown = told(unrecorded(predicted(*unserved, command_line=line)), "01:00.0")
    assert "whether an IOMMU serves it" in shown.undetermined
    assert not shown.real_undetermined, "that is told apart"


def test_what_it_costs() -> None:
    fast, slow = PcieLink(16.0, 16), PcieLink(8.0, 8)
    functions = [
        replace(f, link=Known(slow if f.address in (at("00:01.0"), at("01:00.0")) else fast))
        for f in switch(OFF, OFF, root=OFF)
    ]
    found = told(predicted(*functions))
    (detour,) = found.changes[-1].detours
    assert (detour.one, detour.other, detour.root) == ((at("03:00.0"),), (at("04:00.0"),), at("00:01.0"))
    assert detour.before == fast.bytes_per_second
    assert detour.after == slow.bytes_per_second
    blind = [replace(f, link=Unknown("not read")) for f in functions]
    (detour,) = told(predicted(*blind)).changes[-1].detours
    assert (detour.before, detour.after) == (None, None)


def _card(*acs_of: Acs | Unknown | None, **more: object) -> Host:
    """Functions of a card in one group; what stands above its bus is not shown."""
    made = [endpoint(f"01:00.{n}", acs=state, multifunction=True, group=5) for n, state in enumerate(acs_of)]
    return machine(*(replace(f, parent_told=False, **more) for f in made))  # type: ignore[arg-type]


def test_who_counts_as_apart_is_held_by_a_port_that_is_not_shown() -> None:
    apart = _card(CLOSED, Unknown("cut"), Unknown("cut"))
    for one in ("01:00.0", "01:00.1"):
        found = told(apart, one)
        assert (found.apart, found.spoilers) == (at("01:00.0"), ())
    assert told(_card(None, None), "01:00.0").apart is None, "they hold each other"
    assert told(_card(Unknown("cut"), Unknown("cut")), "01:00.0").apart is None
    assert told(_card(CLOSED, None, parent=at("00:01.0")), "01:00.0").apart == at("01:00.0"), "named, and not shown"
    shown = machine(port("00:01.0", 1, acs=None), *_card(CLOSED, None, parent=at("00:01.0")).functions.values())
    assert told(shown, "01:00.0").apart is None
    assert [s.address for s in told(shown, "01:00.0").spoilers] == [at("00:01.0")]
    alone = machine(replace(endpoint("01:00.0", acs=CLOSED, multifunction=True, group=5), parent_told=False))
    assert told(alone, "01:00.0").apart is None


def test_two_that_share_an_id_need_no_port_to_hold_them() -> None:
    """Function 1 of this controller sends as function 0 too (``quirk_dma_func1_alias``)."""
    pair = [endpoint(f"01:00.{n}", acs=CLOSED, multifunction=True, group=5, ids=(0x1B4B, 0x9230)) for n in range(2)]
    assert told(machine(*(replace(f, parent_told=False) for f in pair)), "01:00.0").apart is None


def test_a_virtual_function_is_apart_whatever_was_read_of_it() -> None:
    owner = replace(endpoint("01:00.0", multifunction=True, group=5), parent_told=False)
    virtual = replace(
        endpoint("01:00.1", physical="01:00.0", group=5),
        port_type=Unknown("cut"),
        acs=Unknown("cut"),
        parent_told=False,
    )
    assert told(machine(owner, virtual), "01:00.1").apart == at("01:00.1")


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.name.partition(".")[0])
def test_what_is_told_of_real_kernels_machines_fits_together(capture: object) -> None:
    found = scene(open_session([str(capture)]).host)
    for one in found.topology.endpoints:
        told = grouping(found.topology, found.settings, one)
        assert told.members == () or one in told.members
        if set(told.members) == set(told.predicted) and len(told.members) > 1:
            assert told.spoilers, (one, told)
        slots = told.slots
        for place in slots.places if slots is not None else ():
            assert slots is not None
            assert place.port not in slots.card
            assert value_of(found.host.functions[place.port].slot, None) is not False


def test_changes_do_what_they_say() -> None:
    """On real kernels' machines, as if pasted with ACS off: each change, predicted anew, gives the group that it
    promises, smaller than before."""
    tried = 0
    for capture in CAPTURES[::3]:
        host = unrecorded(acs_off(open_session([str(capture)]).host))
        found = scene(host)
        for one in found.topology.endpoints:
            told = grouping(found.topology, found.settings, one)
            for change in told.changes:
                prediction = predict(host, acs_control=change.words)
                assert prediction.groups[prediction.index()[one]] == change.group
                assert set(change.group) < set(told.predicted)
                tried += 1
    assert tried
