"""Inside the guest: what atoll says of this machine, what sysfs itself says, and a capture of both."""

import json
import os
from pathlib import Path

from verbs import printed

import labguest

groups: dict[str, list[str]] = {}
for group in sorted(os.listdir("/sys/kernel/iommu_groups"), key=int):
    groups[group] = sorted(os.listdir(f"/sys/kernel/iommu_groups/{group}/devices"))

labguest.answer(
    {
        "release": os.uname().release,
        "devices": sorted(os.listdir("/sys/bus/pci/devices")),
        "groups": groups,
        # Firmware's host bridges, where firmware has a device tree (PowerNV).
        "bridges": sorted(path.name for path in Path("/proc/device-tree").glob("pciex@*")),
        "vfio": Path("/dev/vfio/vfio").exists(),
        "iommufd": Path("/dev/iommu").exists(),
        "show": printed("show"),
        "document": json.loads(printed("groups", "--json")),
    }
)
printed("capture", "/tmp/host.tar.xz")
labguest.give("host.tar.xz", Path("/tmp/host.tar.xz").read_bytes())
