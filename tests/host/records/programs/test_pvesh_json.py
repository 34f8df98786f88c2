"""Proxmox VE's list of functions and groups, as JSON."""

from __future__ import annotations

import json

import pytest

from atoll.errors import InputError
from atoll.host.fact import Known
from atoll.host.records.content import read_record
from host.records.paste import at

_ITEMS = [
    {
        "class": "0x060400",
        "device": "0x1901",
        "id": "0000:00:01.0",
        "iommugroup": 1,
        "vendor": "0x8086",
        "device_name": "A | Port: x16",
    },
    {"class": "0x030000", "device": "0x1b80", "id": "0000:01:00.0", "iommugroup": 1, "vendor": "0x10de", "mdev": 1},
    {"class": "0x020000", "device": "0x1533", "id": "0000:02:00.0", "iommugroup": -1, "vendor": "0x8086"},
]


@pytest.mark.parametrize("wrapped", [False, True])
def test_it_tells_ids_classes_and_groups(wrapped: bool) -> None:
    host = read_record(json.dumps({"data": _ITEMS} if wrapped else _ITEMS).encode(), name="pci.json").host
    assert host is not None
    assert isinstance(host.groups, Known)
    assert {n: [str(a)[5:] for a in g.members] for n, g in host.groups.value.items()} == {1: ["00:01.0", "01:00.0"]}
    gpu, nic = host.functions[at("01:00.0")], host.functions[at("02:00.0")]
    assert (gpu.vendor, gpu.device, gpu.class_code >> 8) == (0x10DE, 0x1B80, 0x0300)
    assert isinstance(nic.group, Known)
    assert nic.group.value is None


@pytest.mark.parametrize("text", ['{"iommugroup": 1}', '[{"iommugroup": 1, "id": 7}]', '[{"iommugroup": 1', "[[[["])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_record(text.encode(), name="pci.json")


@pytest.mark.parametrize("indent", [None, 2])
def test_it_is_found_in_the_midst_of_a_post(indent: int | None) -> None:
    text = (
        f"[    0.1] a line\nMy list:\n```\n# pvesh get …\n{json.dumps(_ITEMS, indent=indent)}\n```\nThanks [really]\n"
    )
    alone, around = (read_record(t.encode(), name="post").host for t in (json.dumps(_ITEMS), text))
    assert alone is not None
    assert around is not None
    assert isinstance(around.groups, Known)
    assert isinstance(alone.groups, Known)
    assert around.groups.value == alone.groups.value
    assert list(around.functions) == list(alone.functions)
