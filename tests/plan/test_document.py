"""Plans as documents: nothing is lost on the way, and nothing unsound comes back."""

from __future__ import annotations

import contextlib
import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import InputError
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.document import from_document, to_document
from atoll.plan.step import Bandwidth, Plan, Step, StepKind, Unachievable

ADDRESSES = st.builds(Address, st.integers(0, 0x10000), st.integers(0, 255), st.integers(0, 31), st.integers(0, 7))
NAMES = st.text(st.sampled_from("abz019-_."), min_size=1, max_size=8).filter(lambda name: not set(name) <= {"."})
TEXTS = st.text(max_size=12)
FLAGS = st.integers(0, 0x7F).map(AcsFlag)
LINKS = st.sets(st.integers(0, 17), max_size=4).map(lambda links: tuple(sorted(links)))
STEPS = st.builds(
    Step,
    id=NAMES,
    kind=st.sampled_from(list(StepKind)),
    device=ADDRESSES,
    because=TEXTS,
    precondition=TEXTS,
    check=TEXTS,
    undo=TEXTS,
    cluster=st.none() | NAMES,
    driver=NAMES,
    override=st.none() | NAMES,
    acs_before=st.none() | FLAGS,
    acs=FLAGS,
    method=NAMES,
    holder=NAMES,
    control=NAMES,
    links=LINKS.filter(bool),
    mask=st.integers(0, 0xFFFFFFFF),
    group=st.lists(ADDRESSES, min_size=1, max_size=3).map(tuple),
)
LACKING = st.builds(
    Unachievable, st.lists(NAMES, max_size=2).map(tuple), TEXTS, TEXTS, st.lists(ADDRESSES, max_size=2).map(tuple)
)
PLANS = st.builds(
    Plan,
    host=TEXTS,
    spec=TEXTS,
    steps=st.lists(STEPS, max_size=4, unique_by=lambda step: step.id).map(tuple),
    clusters=st.lists(
        st.builds(Bandwidth, NAMES, st.lists(ADDRESSES).map(tuple), st.integers(0), st.integers(0)), max_size=2
    ).map(tuple),
    unachievable=st.lists(LACKING, max_size=2).map(tuple),
    impossible=st.lists(LACKING, max_size=2).map(tuple),
    fingerprints=st.dictionaries(ADDRESSES, TEXTS, max_size=3).map(lambda found: tuple(sorted(found.items()))),
)


@given(PLANS)
def test_there_and_back(plan: Plan) -> None:
    assert from_document(json.loads(json.dumps(to_document(plan)))) == plan


STEP = Step(
    "s1",
    StepKind.CUT_LINKS,
    Address(4, 4, 0, 0),
    *("why", "before", "after", "back"),
    cluster="red",
    control="nvlink-mask-v100",
    links=(0, 2, 4),
    mask=0x150000,
)
PLAN = Plan("h", "spec", (STEP, replace(STEP, id="s2")), (), (), fingerprints=((STEP.device, "x"),))


def test_the_fixed_form() -> None:
    document = to_document(PLAN)
    assert document["schema"] == "atoll.plan/1"
    assert document["steps"][0] == {
        "id": "s1",
        "kind": "cut-links",
        "device": "0004:04:00.0",
        "because": "why",
        "precondition": "before",
        "check": "after",
        "undo": "back",
        "cluster": "red",
        "control": "nvlink-mask-v100",
        "links": [0, 2, 4],
        "mask": "0x150000",
    }


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), "atoll.plan/2", "schema"),
        (("steps",), {}, "plan.steps: found {}, expected an array"),
        (("steps", 0), None, "plan.steps[0]: found None, expected an object"),
        (("steps", 1, "id"), "s1", "used twice"),
        (("steps", 0, "kind"), "format-disk", "plan.steps[0].kind: found 'format-disk', expected one of"),
        (("steps", 0, "device"), "../../x", "plan.steps[0].device: found '../../x', expected a PCI address"),
        (("steps", 0, "driver"), "../x", "plan.steps[0].driver"),
        (("steps", 0, "driver"), "..", "plan.steps[0].driver"),
        (("steps", 0, "mask"), 0x150000, "plan.steps[0].mask"),
        (("steps", 0, "mask"), "0xzz", "plan.steps[0].mask"),
        (("steps", 0, "links"), [4, 2], "plan.steps[0].links"),
        (("steps", 0, "links"), [True], "plan.steps[0].links[0]"),
        (("steps", 0, "acs"), "SrcValid+", "plan.steps[0].acs"),
        (("steps", 0, "surprise"), 1, "unknown field 'surprise'"),
        (("clusters",), [{"name": "red"}], "plan.clusters[0]: functions is missing"),
        (("fingerprints",), {"x": "y"}, "plan.fingerprints"),
        (("spec",), 3, "plan.spec"),
        (("surprise",), 3, "unknown field 'surprise'"),
    ],
)
def test_what_is_unsound_is_refused(path: tuple[str | int, ...], value: object, message: str) -> None:
    document: Any = copy.deepcopy(to_document(PLAN))
    at = document
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    with pytest.raises(InputError) as caught:
        from_document(document)
    assert message in caught.value.message


@pytest.mark.parametrize("missing", ["control", "links", "mask", "device", "because"])
def test_a_step_without_what_it_needs_is_refused(missing: str) -> None:
    document = to_document(PLAN)
    del document["steps"][0][missing]
    with pytest.raises(InputError, match=missing):
        from_document(document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from(["steps", "clusters", "fingerprints", "unachievable", "host"]))
def test_anything_else_is_an_input_error_and_nothing_worse(value: Any, field: str) -> None:
    for document in (value, {**to_document(PLAN), field: value}):
        with contextlib.suppress(InputError):
            from_document(document)
