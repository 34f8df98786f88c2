"""Facts are values: they hold what was read, compare by it, and do not change."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest

from atoll.host.fact import Known, Unknown, value_of


def test_a_known_fact_is_a_frozen_value() -> None:
    fact = Known(5, "sys/x")
    assert (fact.value, fact.source, Known(5).source) == (5, "sys/x", "")
    assert fact == Known(value=5, source="sys/x")
    assert hash(fact) == hash(Known(5, "sys/x"))
    assert fact not in (Known(5), Known(6, "sys/x"), Unknown("sys/x"))
    assert repr(fact) == "Known(value=5, source='sys/x')"
    for name in ("value", "source", "other"):
        with pytest.raises((FrozenInstanceError, TypeError)):
            setattr(fact, name, 6)
    assert not hasattr(fact, "__dict__")
    assert value_of(fact, None) == 5


def test_a_known_fact_is_copied_whole() -> None:
    fact = Known((1, 2), "sys/x")
    assert replace(fact, value=(3, 4)) == Known((3, 4), "sys/x")
    assert copy.copy(fact) == fact == pickle.loads(pickle.dumps(fact))
    match fact:
        case Known(value, source):
            assert (value, source) == ((1, 2), "sys/x")
