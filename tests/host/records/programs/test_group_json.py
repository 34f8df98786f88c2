"""JSON of scripts that tell of IOMMU groups."""

from __future__ import annotations

import json

import pytest

from atoll.errors import InputError
from atoll.host.model import Host
from atoll.host.records.content import read_record
from host.records.paste import groups_of

_A, _B, _C = "0000:00:01.0", "0000:01:00.0", "0000:02:00.0"
_LINES = "\n".join(json.dumps({"iommuGroup": n, "pciAddress": a}) for a, n in ((_A, "1"), (_B, "1"), (_C, "2")))


def _host(document: object) -> Host:
    data = document if isinstance(document, str) else json.dumps(document)
    found = read_record(data.encode(), name="groups.json").host
    assert found is not None
    return found


@pytest.mark.parametrize(
    "document",
    [
        {"groups": {"1": [_A, _B], "2": [_C]}},
        {"iommu_groups": {"group 1": [_A, f"{_B} VGA compatible controller"], "group 2": [_C]}},
        [{"group": 1, "devices": [_A, _B]}, {"group": "2", "devices": [_C]}],
        [
            {"address": _A, "iommu_group": 1, "parent": "0000:00:00.0"},
            {"bdf": _B, "iommu_group": 1},
            {"id": _C, "iommu_group": 2},
        ],
        {
            "iommu_groups": [
                {"id": 1, "devices": [{"address": _A}, {"address": _B}]},
                {"id": 2, "devices": [{"pci": _C}]},
            ]
        },
        {"data": {"iommu_groups": {_A: 1, _B: "1", _C: "/sys/kernel/iommu_groups/2"}}},
        {"gpus": [{"address": _B, "iommu_group": 1, "group_devices": [_A, _B]}, {"address": _C, "iommu_group": 2}]},
        _LINES,
    ],
)
def test_forms(document: object) -> None:
    assert groups_of(_host(document)) == {1: ["00:01.0", "01:00.0"], 2: ["02:00.0"]}


@pytest.mark.parametrize(
    "document",
    [
        {"gpus": [{"name": _B, "other": _C, "iommu_group": 1}]},
        {"iommu_groups": {"1": [_A, "01:00.x"]}},
        {"iommu_groups": {"1": [{"address": _A}, {"name": "the card"}]}},
        {"scheduler": 1, "groups": [{"id": 0, "gpus": [_A, _B]}]},
        {"iommu": True, "local": {"group": 4, "interfaces": [_A]}},
        {"iommu": True, "gpus": [{"bdf": _A, "queue": 3, "group": 0}, {"bdf": _B, "queue": 4, "group": 0}]},
    ],
)
def test_what_leaves_open_which_is_in_which(document: object) -> None:
    with pytest.raises(InputError, match="leaves open"):
        _host(document)


def test_groups_of_something_else_beside_an_iommus() -> None:
    queues = [{"group": 7, "devices": [_B, _C]}]
    units = {"0": [_A, _B, _C]}
    host = _host({"queues": queues, "iommu": units, "iommu_groups": {"1": [_A, _B]}})
    assert groups_of(host) == {1: ["00:01.0", "01:00.0"]}


@pytest.mark.parametrize(
    "document",
    [
        {"iommu": "on", "groups": {"1": [_A, _B]}},
        {"iommu": {"type": "intel", "groups": [{"id": 1, "members": [_A, _B]}]}},
    ],
)
def test_groups_beside_or_below_iommus(document: object) -> None:
    assert groups_of(_host(document)) == {1: ["00:01.0", "01:00.0"]}


@pytest.mark.parametrize("document", [{"1": [_A, _B], "2": [_C]}, {_A: 1}, {"numa": {"1": [_A, _B]}}])
def test_numbers_that_nothing_calls_groups(document: object) -> None:
    with pytest.raises(InputError):
        _host(document)


def test_a_group_that_is_not_told() -> None:
    assert groups_of(_host([{"address": _A, "iommu_group": 12}, {"address": _B, "iommu_group": None}])) == {
        12: ["00:01.0"]
    }
