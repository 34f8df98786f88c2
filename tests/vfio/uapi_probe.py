"""What a kernel's headers say about the numbers and layouts of ``atoll.vfio.uapi``, asked of a C compiler.

As a program: ``python tests/vfio/uapi_probe.py INCLUDE`` prints what the headers below a folder say, as recorded in
tests/data/uapi.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

from atoll.vfio import uapi
from atoll.vfio.uapi import container, device, feature, group, iommufd, irq, region
from atoll.vfio.uapi.layout import Layout, Sized

__all__ = ["HEADERS", "layouts", "numbers", "probe"]

HEADERS = ("linux/vfio.h", "linux/iommufd.h")

_NAMES: Mapping[type[IntEnum] | type[IntFlag], str] = {
    container.CapabilityId: "VFIO_IOMMU_TYPE1_INFO_CAP_{}",
    container.ContainerRequest: "VFIO_{}",
    container.Extension: "VFIO_{}",
    container.IommuInfoFlags: "VFIO_IOMMU_INFO_{}",
    container.MapFlags: "VFIO_DMA_MAP_FLAG_{}",
    container.UnmapFlags: "VFIO_DMA_UNMAP_FLAG_{}",
    device.AttachFlags: "VFIO_DEVICE_ATTACH_{}",
    device.BindFlags: "VFIO_DEVICE_BIND_FLAG_{}",
    device.DeviceCapabilityId: "VFIO_DEVICE_INFO_CAP_{}",
    device.DeviceFlags: "VFIO_DEVICE_FLAGS_{}",
    device.DeviceRequest: "VFIO_DEVICE_{}",
    device.HotResetFlags: "VFIO_PCI_HOT_RESET_FLAG_{}",
    feature.BusMasterOp: "VFIO_DEVICE_FEATURE_{}",
    feature.Feature: "VFIO_DEVICE_FEATURE_{}",
    feature.FeatureFlags: "VFIO_DEVICE_FEATURE_{}",
    group.GroupFlags: "VFIO_GROUP_FLAGS_{}",
    group.GroupRequest: "VFIO_GROUP_{}",
    iommufd.IoasMapFlags: "IOMMU_IOAS_MAP_{}",
    iommufd.IommufdRequest: "IOMMU_{}",
    iommufd.OptionId: "IOMMU_OPTION_{}",
    iommufd.OptionOp: "IOMMU_OPTION_OP_{}",
    irq.IrqFlags: "VFIO_IRQ_INFO_{}",
    irq.IrqIndex: "VFIO_PCI_{}_IRQ_INDEX",
    irq.IrqSetFlags: "VFIO_IRQ_SET_{}",
    region.RegionCapabilityId: "VFIO_REGION_INFO_CAP_{}",
    region.RegionFlags: "VFIO_REGION_INFO_FLAG_{}",
    region.RegionIndex: "VFIO_PCI_{}_REGION_INDEX",
}
_SPELLED = {
    "VFIO_IOMMU_TYPE1_INFO_CAP_DMA_AVAIL": "VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL",
    "VFIO_SPAPR_TCE_V2_IOMMU": "VFIO_SPAPR_TCE_v2_IOMMU",
    "VFIO_TYPE1V2_IOMMU": "VFIO_TYPE1v2_IOMMU",
}
"""Where the header departs from its own pattern."""


def _members() -> Iterator[tuple[str, Any]]:
    for found in pkgutil.iter_modules(uapi.__path__, f"{uapi.__name__}."):
        yield from vars(importlib.import_module(found.name)).items()


def layouts() -> dict[str, type[Layout]]:
    """Return every layout, by the name of its structure."""
    found = {
        value.c_name: value
        for _, value in _members()
        if isinstance(value, type) and issubclass(value, Layout) and value not in (Layout, Sized)
    }
    return dict(sorted(found.items()))


def numbers() -> dict[str, int]:
    """Return every number, by its name in the header. KeyError for an enumeration that no pattern names."""
    found = {"VFIO_API_VERSION": container.API_VERSION}
    for _, value in _members():
        if isinstance(value, type) and issubclass(value, IntEnum | IntFlag) and value not in (IntEnum, IntFlag):
            for member in value:
                name = _NAMES[value].format(member.name)
                found[_SPELLED.get(name, name)] = int(member)
    return dict(sorted(found.items()))


def _words(text: str) -> set[str]:
    return set("".join(c if c.isalnum() or c == "_" else " " for c in text).split())


def _fields(text: str, layout: type[Layout]) -> list[str]:
    """Return the fields of a layout that the header's structure has."""
    _, found, rest = text.partition(f"struct {layout.c_name} {{\n")
    body = _words(rest.partition("\n};")[0]) if found else set()
    return [name for name, *_ in layout._fields_ if name in body]


def probe(include: Path, compiler: str) -> dict[str, Any]:
    """Return what the headers say: ``structs`` (size, and offset and size of each field) and ``numbers``.

    What a header has not is left out.
    """
    text = "\n".join((include / header).read_text() for header in HEADERS if (include / header).exists())
    words = _words(text)
    lines = ["#include <stdio.h>", "#include <stddef.h>"]
    lines += [f"#include <{header}>" for header in HEADERS if (include / header).exists()]
    lines += ["int main(void) {"]
    for name, layout in layouts().items():
        fields = _fields(text, layout)
        if fields:
            lines.append(f'printf("struct %s %zu\\n", "{name}", sizeof(struct {name}));')
        for field in fields:
            place = f"offsetof(struct {name}, {field}), sizeof(((struct {name} *)0)->{field})"
            lines.append(f'printf("field %s.%s %zu %zu\\n", "{name}", "{field}", {place});')
    for name in numbers():
        if name in words or name.replace("IOMMU_", "IOMMUFD_CMD_", 1) in words:
            lines.append(f'printf("number %s %lld\\n", "{name}", (long long)({name}));')
    lines += ["return 0; }", ""]
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "probe.c"), Path(folder, "probe")
        source.write_text("\n".join(lines))
        subprocess.run([compiler, "-w", "-isystem", str(include), "-o", str(program), str(source)], check=True)
        said = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    structs: dict[str, Any] = {}
    values: dict[str, int] = {}
    for line in said.splitlines():
        kind, name, *rest = line.split()
        if kind == "struct":
            structs[name] = {"size": int(rest[0]), "fields": {}}
        elif kind == "field":
            structure, _, field = name.partition(".")
            structs[structure]["fields"][field] = [int(rest[0]), int(rest[1])]
        else:
            values[name] = int(rest[0])
    return {"structs": structs, "numbers": values}


if __name__ == "__main__":
    print(json.dumps(probe(Path(sys.argv[1]), "cc"), indent=1))
