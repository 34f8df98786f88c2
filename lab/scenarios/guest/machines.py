"""Inside the guest: the kernel's groups as sysfs has them, and what atoll read and predicted."""

import json
import os
import subprocess
import sys

from labguest import answer

GROUPS = "/sys/kernel/iommu_groups"

done = subprocess.run([sys.executable, "-m", "atoll", "groups", "--json"], capture_output=True, text=True, check=False)
if done.returncode not in (0, 1):
    raise SystemExit(f"atoll groups: exit code {done.returncode}: {done.stderr.strip()}")
document = json.loads(done.stdout)
answer(
    {
        "devices": sorted(os.listdir("/sys/bus/pci/devices")),
        "groups": [sorted(os.listdir(f"{GROUPS}/{number}/devices")) for number in os.listdir(GROUPS)],
        "recorded": document["recorded"],
        "predicted": document["predicted"],
    }
)
