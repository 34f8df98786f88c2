"""The recorded groups held against the predicted: what counts as a difference, and which of them are certain."""

from __future__ import annotations

from dataclasses import replace

from groups_hosts import at, function, groups, host

from atoll.host.fact import Known, Unknown
from atoll.host.model import Group, Host
from atoll.isolation.groups.comparison import Difference, compare
from atoll.isolation.groups.prediction import Prediction

_ONE, _TWO, _THREE = (at(f"0000:0{n}:00.0") for n in (1, 2, 3))


def _recorded(*members: str) -> Host:
    """Three functions; of those in none of these groups the record tells none."""
    told = {number: Group(number, group) for number, group in enumerate(groups(*members))}
    number = {address: n for n, group in told.items() for address in group.members}
    shown = host([function(str(address)) for address in (_ONE, _TWO, _THREE)])
    functions = {
        a: replace(f, group=Known(number[a]) if a in number else Unknown("the list leaves it out"))
        for a, f in shown.functions.items()
    }
    return replace(shown, functions=functions, groups=Known(told))


def test_without_recorded_groups_there_is_nothing_to_compare() -> None:
    assert compare(replace(_recorded(), groups=Unknown("not read")), Prediction(groups("0000:01:00.0"))) is None


def test_a_difference_names_both_groups() -> None:
    found = compare(_recorded("0000:01:00.0 0000:02:00.0", "0000:03:00.0"), Prediction(((_ONE,), (_TWO,), (_THREE,))))
    assert found is not None
    assert found.recorded == ((_ONE, _TWO), (_THREE,))
    assert found.differences == (Difference(_ONE, (_ONE, _TWO), (_ONE,)), Difference(_TWO, (_ONE, _TWO), (_TWO,)))
    assert found.certain == found.differences


def test_what_rests_on_a_fact_that_is_not_known_is_not_certain() -> None:
    predicted = Prediction(((_ONE,), (_TWO,), (_THREE,)), ((_ONE, "its type"),), {_TWO: "it may be in it"})
    found = compare(_recorded("0000:01:00.0 0000:02:00.0 0000:03:00.0"), predicted)
    assert found is not None
    assert [difference.function for difference in found.differences] == [_ONE, _TWO, _THREE]
    assert [difference.function for difference in found.certain] == [_THREE]


def test_of_a_function_whose_group_is_not_told_nothing_differs() -> None:
    found = compare(_recorded("0000:01:00.0", "0000:03:00.0"), Prediction(((_ONE, _TWO), (_THREE,))))
    assert found is not None
    assert found.differences == ()


def test_a_function_of_which_only_the_group_is_shown_is_named_and_not_compared() -> None:
    named = at("0000:09:00.0")
    found = compare(
        _recorded("0000:01:00.0 0000:09:00.0", "0000:02:00.0", "0000:03:00.0"),
        Prediction(((_ONE,), (_TWO,), (_THREE,))),
    )
    assert found is not None
    assert found.unseen == {named}
    assert found.differences == ()
