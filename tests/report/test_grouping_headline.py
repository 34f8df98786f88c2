"""A function's group in one sentence."""

from __future__ import annotations

from dataclasses import replace

from grouping_hosts import grouping_of, pasted
from reach_hosts import CLOSED, at, endpoint, machine, slots

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.gap import Gap, GapKind
from atoll.report.grouping_headline import headline


def test_alone() -> None:
    host = machine(*slots(CLOSED))
    number = host.functions[at("01:00.0")].group
    assert isinstance(number, Known)
    assert headline(host, grouping_of(host, "01:00.0")) == f"0000:01:00.0 is alone in group {number.value}."


def test_whose_list_was_not_read_whole_is_not_alone() -> None:
    host = machine(*slots(CLOSED))
    number = value_of(host.functions[at("01:00.0")].group, None)
    part = replace(host, gaps=(Gap("members", "x", kind=GapKind.MEMBERS, of=(at("01:00.0"),)),))
    told = headline(part, grouping_of(part, "01:00.0"))
    assert told == f"0000:01:00.0 is in group {number}, and so is what of its list could not be read."
    assert "alone" in headline(part, grouping_of(part, "00:01.0"))


def test_who_else_is_in_the_group_only_a_whole_record_tells() -> None:
    host = machine(*slots(CLOSED))
    one = host.functions[at("01:00.0")]
    part = replace(host, functions={one.address: replace(one, parent=None, parent_told=False)})
    assert headline(part, grouping_of(part, "01:00.0")).endswith(", as far as the record shows.")


def test_in_none() -> None:
    host = machine(endpoint("01:00.0", group=None))
    assert headline(host, grouping_of(host, "01:00.0")).startswith("0000:01:00.0 is in no group: no IOMMU is in use")


def test_a_guess_is_called_one() -> None:
    host = pasted(machine(*slots(Unknown("cut"))))
    assert "as guessed from a record that does not tell all" in headline(host, grouping_of(host, "01:00.0"))


def test_a_port_further_up_that_is_not_shown_may_have_more_below_it() -> None:
    host = machine(*slots(CLOSED))
    loose = {a: replace(f, parent=at("00:1e.0")) if a == at("00:01.0") else f for a, f in host.functions.items()}
    part = replace(host, functions=loose)
    assert headline(part, grouping_of(part, "01:00.0")).endswith(", as far as the record shows.")


def test_in_a_group_that_the_record_does_not_tell() -> None:
    unlisted = replace(endpoint("02:00.0"), group=Unknown("not listed"), iommu=Unknown("not shown"))
    host = machine(endpoint("01:00.0", group=5), unlisted)
    assert headline(host, grouping_of(host, "02:00.0")) == "The group of 0000:02:00.0 is not known: not listed."


def test_nothing_is_alone_in_an_excerpt() -> None:
    host = replace(machine(*slots(CLOSED)), excerpt=True)
    assert headline(host, grouping_of(host, "01:00.0")).endswith(", as far as the record shows.")
    bare = pasted(host)
    assert headline(bare, grouping_of(bare, "01:00.0")).endswith("its group, as predicted, as far as the record shows.")


def test_beside_functions_of_untold_groups_nothing_is_alone() -> None:
    audio = replace(endpoint("01:00.1", multifunction=True), group=Unknown("not listed"))
    bridge = replace(endpoint("00:00.0", class_code=0x060000), group=Unknown("not listed"))
    host = machine(endpoint("01:00.0", group=1, multifunction=True), audio, bridge)
    told = "0000:01:00.0 is in group 1, and so may 0000:01:00.1 be, whose group the record does not tell."
    assert headline(host, grouping_of(host, "01:00.0")) == told
    # What no rule would put there is not named: host bridges beside AMD's IOMMU are in no list.
    host = machine(endpoint("01:00.0", group=1), bridge)
    assert "is alone in group 1" in headline(host, grouping_of(host, "01:00.0"))


def test_a_guess_is_hedged_once() -> None:
    host = replace(pasted(machine(*slots(Unknown("cut")))), excerpt=True)
    assert "as guessed from a record" in headline(host, grouping_of(host, "01:00.0"))
    assert "as far as the record shows" not in headline(host, grouping_of(host, "01:00.0"))
