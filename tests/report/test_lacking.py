"""What is lacking is told once, with all that lack it, and nothing is lost over it."""

from __future__ import annotations

from dataclasses import replace

from reach_hosts import at, endpoint, machine

from atoll.host.fact import Known, Unknown
from atoll.isolation.groups.prediction import Prediction
from atoll.isolation.honesty import Honesty
from atoll.report.groups import groups_lines
from atoll.report.lacking import folded, lacking
from atoll.report.names import Names
from atoll.report.show import show_lines
from atoll.report.style import PLAIN

_ONE, _TWO = "0000:01:00.0", "0000:01:00.1"
_TYPE = "the type was not read (cut; by a mailer)"


def test_a_fact_is_told_once() -> None:
    first = f"{_ONE}: {_TYPE}; {_TWO}: {_TYPE}; what stands above bus 0000:01"
    second = f"what stands above bus 0000:02; {_TWO}: {_TYPE}; it joins {_ONE}, of which: {_ONE}: {_TYPE}"
    assert lacking([first, second]) == (f"{_ONE} {_TWO}: {_TYPE}", "what stands above bus 0000:01 0000:02")


def test_another_fact_of_the_same_stays_apart() -> None:
    assert lacking([f"{_ONE}: its ids; {_ONE}: {_TYPE}"]) == (f"{_ONE}: its ids", f"{_ONE}: {_TYPE}")


def test_what_names_no_function_stays_as_it_is() -> None:
    assert lacking(["whether it is so", "note: this"]) == ("whether it is so", "note: this")


def test_many_are_counted() -> None:
    (told,) = lacking([f"0000:0{n}:00.0: its ids" for n in range(1, 7)])
    assert told.endswith("0000:04:00.0 and 2 more: its ids")


def test_who_is_in_whose_group_rests_on_the_other() -> None:
    assert lacking([f"whether {_ONE} is in its group: what stands above bus 0000:01"]) == (
        "what stands above bus 0000:01",
    )


def test_a_difference_is_told_once_a_group() -> None:
    host = machine(*(endpoint(f"01:00.{n}", group=5) for n in range(3)))
    members = tuple(at(f"01:00.{n}") for n in range(3))
    prediction = Prediction(groups=(members[:1], members[1:]))
    honesty = Honesty((), (), ())
    lines = groups_lines(host, prediction, honesty, names=Names(), style=PLAIN)
    found = [line for line in lines if line.startswith(("    recorded", "    predicted"))]
    assert found == [
        "    recorded   0000:01:00.0 0000:01:00.1 0000:01:00.2",
        "    predicted  0000:01:00.0 | 0000:01:00.1 0000:01:00.2",
    ]


def test_who_is_undetermined_is_named_though_others_lack_the_fact() -> None:
    host = machine(endpoint("01:00.0", group=5))
    prediction = Prediction(((at("01:00.0"),),), undetermined=((at("01:00.0"), f"{_TWO}: its ids"),))
    lines = groups_lines(host, prediction, Honesty((), (), ()), names=Names(), style=PLAIN)
    assert f"Undetermined: 1 function ({_ONE}), for want of these facts" in lines
    assert f"    {_TWO}: its ids" in lines


def test_groups_alone_are_not_called_nothing() -> None:
    host = machine(endpoint("01:00.0", group=5))
    text = "\n".join(show_lines(replace(host, functions={}), names=Names(), style=PLAIN))
    assert "atoll groups" in text
    assert "No PCI functions here." not in text


def test_functions_that_could_not_be_read_are_not_called_nothing() -> None:
    host = replace(machine(endpoint("01:00.0", group=5)), functions={}, groups=Known({}), unread=(at("01:00.0"),))
    text = "\n".join(show_lines(host, names=Names(), style=PLAIN))
    assert f"No PCI function could be read: of {_ONE} there are neither ids nor configuration space." in text
    missing = replace(host, unread=(), groups=Unknown("sys/kernel/iommu_groups was not captured"))
    text = "\n".join(show_lines(missing, names=Names(), style=PLAIN))
    assert "No PCI functions here (sys/kernel/iommu_groups was not captured)." in text


def test_sentences_that_differ_in_addresses_are_told_as_one() -> None:
    texts = [f"the BARs of 0000:0{n}:00.0 were not read (x); the port above {_ONE} was not read" for n in range(1, 8)]
    told = folded([*texts, "another thing", "the windows of 10000:e0:06.0: not read"])
    assert told == (
        "the BARs of 0000:01:00.0 0000:02:00.0 0000:03:00.0 0000:04:00.0 and 3 more were not read (x); the port above "
        f"{_ONE} was not read",
        "another thing",
        "the windows of 10000:e0:06.0: not read",
    )
    assert folded(["of 0000:01:00.0 and 1022:1480"]) == ("of 0000:01:00.0 and 1022:1480",)


def test_groups_that_the_prediction_joins_are_told_once() -> None:
    host = machine(*(endpoint(f"01:00.{n}", group=n) for n in range(4)))
    members = tuple(at(f"01:00.{n}") for n in range(4))
    prediction = Prediction(groups=(members[:3], members[3:]))
    lines = groups_lines(host, prediction, Honesty((), (), ()), names=Names(), style=PLAIN)
    found = [line for line in lines if line.startswith(("    recorded", "    predicted"))]
    assert found == [
        "    recorded   0000:01:00.0 | 0000:01:00.1 | 0000:01:00.2",
        "    predicted  0000:01:00.0 0000:01:00.1 0000:01:00.2",
    ]
