"""Groups under ``pcie_acs_override=``: whom it is about, whether the kernel obeys it, and whether it is in force."""

from __future__ import annotations

from dataclasses import replace

from groups_hosts import ACS_OFF, ACS_ON, at, function, groups, host, pair, port

from atoll.fabric.topology import Topology
from atoll.host.fact import Known, Unknown
from atoll.host.model import Function, Group, Host
from atoll.isolation.groups import predict
from atoll.isolation.groups.override_evidence import ignores_override, obeys_untold_override
from atoll.isolation.spoilers import spoilers


def test_override_applies_to_ports_without_acs_only() -> None:
    for acs, together in ((None, False), (ACS_OFF, True)):
        found = predict(host(pair(acs), command_line="quiet pcie_acs_override=downstream,multifunction"))
        assert found.override
        assert (found.groups == groups("00:01.0 01:00.0")) is together
        assert [address for address, _ in found.undetermined] == ([] if together else [at("01:00.0")])


def test_whether_the_kernel_obeys_an_override_is_open_only_where_it_decides() -> None:
    line = "pcie_acs_override=downstream,multifunction"
    ((_, why),) = predict(host(pair(None), command_line=line)).undetermined
    assert "whether this kernel has the patch that obeys pcie_acs_override=" in why
    assert not predict(host(pair(ACS_ON), command_line=line)).undetermined
    single = [port("00:01.0", 1), function("01:00.0", "00:01.0", multifunction=False)]
    assert not predict(host(single, command_line="pcie_acs_override=multifunction")).undetermined


def test_no_override_takes_back_what_an_earlier_row_of_the_table_decided() -> None:
    """``pci_quirk_intel_pch_acs`` says no to a port that the kernel could not set up, not that it does not know."""
    top, below = pair(None)
    for done, ids, apart in (
        (Known(False), (0x8086, 0x8C10), False),
        (Known(True), (0x8086, 0x8C10), True),
        (Known(False), (0x1022, 0x1483), True),
    ):
        told = [replace(top, vendor=ids[0], device=ids[1], chipset_acs=done), below]
        found = replace(host(told, command_line="pcie_acs_override=downstream"), overrides_acs=Known(True))
        assert predict(found).groups == (groups("00:01.0", "01:00.0") if apart else groups("00:01.0 01:00.0"))
        assert not predict(found).undetermined


def test_recorded_groups_tell_whether_the_kernel_obeys_an_override() -> None:
    line = "pcie_acs_override=downstream"
    (together,) = predict(host(pair(None))).groups
    for recorded, obeyed in (((together,), False), (tuple((one,) for one in together), True)):
        numbered = tuple(Group(number, members) for number, members in enumerate(recorded))
        found = host(pair(None), command_line=line, recorded=numbered)
        prediction = predict(found)
        assert prediction.groups == recorded
        assert not prediction.undetermined
        assert (prediction.override, ignores_override(found)) == (obeyed, not obeyed)
        assert [s.address for s in spoilers(Topology(found), together)] == ([] if obeyed else [at("00:01.0")])
    other = host([*pair(None), function("00:04.0")], command_line=line, recorded=(Group(0, together),))
    assert predict(other).undetermined, "groups that neither forms tell nothing"


def test_a_kernel_that_says_at_boot_that_it_overrides_acs_obeys() -> None:
    said = Known(True)
    (together,) = predict(host(pair(None))).groups
    told = replace(host(pair(None), command_line="pcie_acs_override=downstream"), overrides_acs=said)
    assert (predict(told).undetermined, len(predict(told).groups), obeys_untold_override(told)) == ((), 2, False)
    hidden = replace(_grouped(pair(None), "00:01.0", "01:00.0"), overrides_acs=said)
    assert obeys_untold_override(hidden)
    assert not obeys_untold_override(_grouped(pair(None), "00:01.0", "01:00.0"))
    # By ids: of what neither "downstream" nor "multifunction" explains, the parameter may name some.
    more = [*pair(None), port("00:02.0", 2, acs=None), function("02:00.0", "00:02.0")]
    some = _grouped(more, "00:01.0", "01:00.0", "00:02.0 02:00.0")
    assert not predict(some).undetermined
    open_of = dict(predict(replace(some, overrides_acs=said)).undetermined)
    assert open_of.keys() == set(together)
    assert all("whether pcie_acs_override= names it" in why for why in open_of.values())


def test_override_by_id_and_by_multifunction() -> None:
    line = "pcie_acs_override=id:1022:1483"
    assert len(predict(host(pair(None), command_line=line)).groups) == 2
    slot = [function(f"00:03.{n}", multifunction=True) for n in range(2)]
    assert len(predict(host(slot, command_line="pcie_acs_override=multifunction")).groups) == 2
    assert len(predict(host(slot, command_line="pcie_acs_override=downstream")).groups) == 1


def _grouped(functions: list[Function], *members: str) -> Host:
    known = {n: Group(n, groups(one)[0]) for n, one in enumerate(members)}
    return replace(host(functions), groups=Known(known), command_line=Unknown("not shown"))


def test_groups_as_an_override_makes_them_are_open_where_the_command_line_is_not_shown() -> None:
    hidden = _grouped(pair(None), "00:01.0", "01:00.0")
    found = predict(hidden)
    assert found.groups == groups("00:01.0 01:00.0")
    assert all("whether pcie_acs_override=downstream is on" in why for _, why in found.undetermined)
    assert {a for a, _ in found.undetermined} == set(hidden.functions)
    assert not predict(replace(hidden, command_line=Known("quiet"))).undetermined, "it is not there"
    clean = replace(hidden, functions={f.address: f for f in pair(ACS_OFF)})
    assert not predict(clean).undetermined, "the patch leaves ports with ACS alone"


def test_an_override_explains_all_that_is_recorded_or_nothing() -> None:
    other = [port("00:02.0", 2, acs=None), function("02:00.0", "00:02.0")]
    found = predict(_grouped([*pair(None), *other], "00:01.0", "01:00.0", "00:02.0 02:00.0"))
    assert not found.undetermined
