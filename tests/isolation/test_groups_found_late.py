"""Functions found once the IOMMU is there are grouped at their headers' word, which emulators leave to function 0."""

from __future__ import annotations

from dataclasses import replace

import pytest
from groups_hosts import ACS_OFF, at, function, groups, host, port

from atoll.host.fact import Known
from atoll.host.model import Group, Host
from atoll.isolation.groups import predict
from atoll.isolation.groups.comparison import compare

_SLOT = frozenset(map(at, ("01:00.0", "01:00.1", "01:00.2")))


def _machine(*recorded: str, said: tuple[bool, bool, bool] = (True, False, True)) -> Host:
    """A port that isolates, three functions without ACS below; ``said``: the bits of their headers. The second is a
    port with a function below.
    """
    members = [
        port("00:01.0", 1),
        function("01:00.0", "00:01.0", multifunction=said[0]),
        port("01:00.1", 2, "00:01.0", acs=None, multifunction=said[1]),
        function("01:00.2", "00:01.0", multifunction=said[2]),
        function("02:00.0", "01:00.1"),
    ]
    told = tuple(Group(number, together) for number, together in enumerate(groups(*recorded)))
    number = {address: group.number for group in told for address in group.members}
    grouped = [replace(f, group=Known(number[f.address]), says_multifunction=f.multifunction) for f in members]
    return host(grouped, recorded=told)


_AT_BOOT = ("00:01.0", "01:00.0 01:00.1 01:00.2 02:00.0")
_FOUND = ("00:01.0", "01:00.0 01:00.2", "01:00.1 02:00.0")


def test_what_is_found_again_goes_by_its_header() -> None:
    anew = _SLOT | {at("02:00.0")}
    assert predict(_machine(*_AT_BOOT)).groups == groups(*_AT_BOOT), "at boot all are there"
    assert predict(_machine(*_AT_BOOT), anew=anew).groups == groups(*_FOUND)
    assert predict(_machine(*_AT_BOOT, said=(True, True, True)), anew=anew).groups == groups(*_AT_BOOT)


def test_groups_as_of_functions_found_late_are_open() -> None:
    machine = _machine(*_FOUND)
    found = predict(machine)
    comparison = compare(machine, found)
    assert comparison is not None
    assert {difference.function for difference in comparison.differences} == _SLOT | {at("02:00.0")}
    assert not comparison.certain
    missing = dict(found.undetermined)
    assert at("00:01.0") not in missing
    assert missing[at("01:00.1")].startswith("0000:01:00.1: whether it was found after boot")


def test_one_alone_that_was_found_late_leaves_the_others_their_group() -> None:
    machine = _machine("00:01.0", "01:00.0 01:00.1 02:00.0", "01:00.2", said=(True, False, False))
    comparison = compare(machine, predict(machine))
    assert comparison is not None
    assert comparison.differences
    assert not comparison.certain


@pytest.mark.parametrize(
    "other",
    [_machine(*_FOUND, said=(True, True, True)), _machine("00:01.0", "01:00.0", "01:00.1 02:00.0", "01:00.2")],
    ids=["all headers say so", "the one that says so is alone too"],
)
def test_what_that_does_not_explain_is_otherwise_than_predicted(other: Host) -> None:
    comparison = compare(other, predict(other))
    assert comparison is not None
    assert comparison.certain


def test_below_a_port_that_does_not_isolate_it_makes_no_difference() -> None:
    members = [
        port("00:01.0", 1, acs=ACS_OFF),
        function("01:00.0", "00:01.0", multifunction=True),
        replace(function("01:00.1", "00:01.0", multifunction=True), says_multifunction=Known(False)),
    ]
    together = groups("00:01.0 01:00.0 01:00.1")
    machine = host(members, recorded=(Group(0, together[0]),))
    assert predict(machine, anew=frozenset(map(at, ("01:00.0", "01:00.1")))).groups == together
