"""How root complexes route, where a record tells it."""

from __future__ import annotations

import json

import pytest

from atoll.errors import InputError
from atoll.host.fact import Known
from atoll.host.model import RootRouting
from host.handmade import host_with

ROUTING = {"schema": "atoll.root-complex/1", "source": "board manual", "host_bridges": {"pci0000:01": "direct"}}


def test_root_routing() -> None:
    routing = host_with({"records/root-complex.json": json.dumps(ROUTING)}).root_routing
    assert routing == {"pci0000:01": Known(RootRouting.DIRECT, "records/root-complex.json: board manual")}
    assert host_with({}).root_routing == {}


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        json.dumps(ROUTING | {"schema": "atoll.root-complex/2"}),
        json.dumps(ROUTING | {"source": " "}),
        json.dumps(ROUTING | {"host_bridges": []}),
        json.dumps(ROUTING | {"host_bridges": {"pci0000:01": "isolated"}}),
        json.dumps(ROUTING | {"host_bridges": {"pci0000:01": ["direct"]}}),
    ],
)
def test_damaged_root_routing(damage: str) -> None:
    with pytest.raises(InputError, match=r"root-complex\.json"):
        host_with({"records/root-complex.json": damage})
