"""Inside the guest: what atoll says of this machine, what sysfs itself says, and a capture of both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import labguest


def atoll(*arguments: str) -> str:
    """Run atoll; return what it prints. Ends the guest for an error."""
    done = subprocess.run([sys.executable, "-m", "atoll", *arguments], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1, 3):
        raise SystemExit(f"atoll {' '.join(arguments)}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


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
        "show": atoll("show"),
        "document": json.loads(atoll("groups", "--json")),
    }
)
atoll("capture", "/tmp/host.tar.xz")
labguest.give("host.tar.xz", Path("/tmp/host.tar.xz").read_bytes())
