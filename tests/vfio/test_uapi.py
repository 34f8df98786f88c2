"""Numbers and layouts are those of the kernel's headers."""

from __future__ import annotations

import ctypes
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uapi_probe import layouts, numbers, probe

from atoll.vfio.uapi.layout import from_bytes

RECORDS = Path(__file__).resolve().parent.parent / "data" / "uapi"
INCLUDE = Path("/usr/include")
NEWEST = "linux-7.3"


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text())
    return found


def differences(said: dict[str, Any]) -> list[str]:
    """Return where a header says something else."""
    ours = numbers()
    found = [f"{name} is {value}" for name, value in said["numbers"].items() if ours[name] != value]
    for name, structure in said["structs"].items():
        layout = layouts()[name]
        for field, place in structure["fields"].items():
            here = getattr(layout, field)
            if [here.offset, here.size] != place:
                found.append(f"{name}.{field} is at {place}")
        ends = [offset + size for offset, size in structure["fields"].values()]
        whole = len(ends) == len(layout._fields_)
        if structure["size"] != ctypes.sizeof(layout) and (whole or structure["size"] < max(ends)):
            found.append(f"{name} has {structure['size']} bytes")
    return found


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDS.glob("*.json")))
def test_as_recorded(name: str) -> None:
    said = recorded(name)
    assert said["source"]
    assert differences(said) == []


def test_the_newest_header_has_all() -> None:
    said = recorded(NEWEST)
    assert said["numbers"] == numbers()
    assert said["structs"].keys() == layouts().keys()
    for name, layout in layouts().items():
        assert said["structs"][name]["fields"].keys() == {field for field, *_ in layout._fields_}
        assert said["structs"][name]["size"] == ctypes.sizeof(layout)


def test_a_difference_is_found() -> None:
    said = recorded(NEWEST)
    said["numbers"]["VFIO_DEVICE_RESET"] += 1
    said["structs"]["vfio_region_info"]["fields"]["size"] = [20, 8]
    said["structs"]["vfio_irq_set"]["size"] = 24
    assert len(differences(said)) == 3


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.skipif(not (INCLUDE / "linux/vfio.h").exists(), reason="no kernel headers")
def test_as_this_systems_headers_say() -> None:
    said = probe(INCLUDE, "cc")
    assert said["numbers"]["VFIO_DEVICE_RESET"] == 0x3B6F
    assert differences(said) == []


@given(st.sampled_from(sorted(layouts())), st.data())
def test_layouts_round_trip(name: str, data: st.DataObject) -> None:
    layout = layouts()[name]
    size = ctypes.sizeof(layout)
    image = data.draw(st.binary(min_size=size, max_size=size + 8))
    assert bytes(from_bytes(layout, image)) == image[:size]
    with pytest.raises(ValueError, match="ends beyond"):
        from_bytes(layout, image, len(image) - size + 1)
