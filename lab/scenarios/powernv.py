"""PowerNV (POWER9): six host bridges, groups by partitionable endpoint, the device tree as firmware writes it.

No emulated GPU here: QEMU's host bridge replays its whole window to a vfio-user device and does not come back.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from lab.boot import Boot, Result, boot
from lab.report import Check, Report, Setting
from lab.scenarios import guest_scripts
from lab.scenarios.smoke import check_groups

__all__ = ["MACHINE", "run"]

# Each behind a host bridge of its own: a device alone, a multifunction slot, a switch with two devices, and one that
# is function 1 of a slot. Linux makes a bus a partitionable endpoint (pnv_ioda_setup_bus_PE), so the slot is one group,
# the devices below the switch two, and the switch in the slot shares the group of the device before it.
MACHINE = (
    *("-device", "nvme,bus=pcie.0,serial=alone"),
    *("-device", "e1000e,bus=pcie.1"),
    *("-device", "nvme,bus=pcie.2,serial=slot0,addr=0.0,multifunction=on"),
    *("-device", "nvme,bus=pcie.2,serial=slot1,addr=0.1"),
    *("-device", "x3130-upstream,id=up,bus=pcie.3"),
    *("-device", "xio3130-downstream,id=down0,bus=up,chassis=1,slot=1", "-device", "nvme,bus=down0,serial=below0"),
    *("-device", "xio3130-downstream,id=down1,bus=up,chassis=1,slot=2", "-device", "nvme,bus=down1,serial=below1"),
    *("-device", "nvme,bus=pcie.4,serial=beside,addr=0.0,multifunction=on"),
    *("-device", "x3130-upstream,id=second,bus=pcie.4,addr=0.1"),
    *("-device", "xio3130-downstream,id=down2,bus=second,chassis=2,slot=3"),
    *("-device", "nvme,bus=down2,serial=below2"),
)


def run(setting: Setting) -> Report:
    """Boot every kernel of the setting, one after the other."""
    checks: list[Check] = []
    facts: dict[str, object] = {}
    for kernel in setting.kernels:
        name = f"powernv-{kernel}"
        files = guest_scripts("smoke", "verbs")
        result = boot(
            Boot(kernel, MACHINE, files, cmdline="", memory=2048, name=name),
            folder=setting.folder / name,
        )
        setting.say(f"powernv on {kernel}: {result.seconds:.1f} s")
        capture = setting.folder / f"{name}.tar.xz"
        checks += check_groups(kernel, result, capture)
        if result.ok:
            checks += _check_platform(kernel, result, capture)
        facts[kernel] = {
            "release": result.answer.get("release"),
            "seconds": round(result.seconds, 2),
            "groups": result.answer.get("groups"),
        }
    return Report(tuple(checks), facts)


def _check_platform(kernel: str, result: Result, capture: Path) -> list[Check]:
    with tarfile.open(capture) as archive:
        names = archive.getnames()
    # /proc/device-tree is a link to this (drivers/of/kobj.c).
    nodes = "sys/firmware/devicetree/base/pciex@"
    bridges = sorted({name.split("/")[4] for name in names if name.startswith(nodes)})
    said = str(result.answer["show"]).splitlines()[0]
    return [
        Check(kernel, "atoll knows the platform", ok=": powernv," in said, detail=said),
        Check(
            kernel,
            "the capture holds the device tree's host bridges",
            ok=bool(bridges) and bridges == result.answer["bridges"],
            detail=f"it has {bridges}, firmware {result.answer['bridges']}",
        ),
    ]
