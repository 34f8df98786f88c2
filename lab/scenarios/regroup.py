"""Regrouping on each kernel: what shares a group because root ports do not redirect is taken apart, and put back.

The kernel is told at boot not to redirect at these ports (``pci=disable_acs_redir=``), as a host may be.
"""

from __future__ import annotations

import json

from lab.boot import Boot, boot
from lab.noted import noted
from lab.report import Check, Report, Setting
from lab.scenarios import guest_scripts

__all__ = ["run"]


def _ports(driver: str, slot: int) -> tuple[str, ...]:
    """Two root ports that are functions of one slot; at the default speed QEMU does not show the link as up."""
    speed = ",x-speed=5" if driver == "pcie-root-port" else ""
    words: list[str] = []
    for function in (0, 1):
        number = 2 * slot + function
        words += (
            "-device",
            f"{driver},id=p{slot:x}{function},bus=pcie.0,addr={slot:x}.{function},multifunction=on,"
            f"chassis={number},slot={number}{speed}",
        )
    return tuple(words)


# Firmware numbers buses in the order of slots: 1 and 2 below 0x10, 3 and 4 below 0x11, from 5 on below 0x12.
_MACHINE = (
    *("-device", "intel-iommu,intremap=on,caching-mode=on"),
    *_ports("pcie-root-port", 0x10),
    *("-device", "nvme,bus=p100,serial=a", "-device", "nvme,bus=p101,serial=b"),
    *_ports("ioh3420", 0x11),
    *("-device", "nvme,bus=p110,serial=c", "-device", "nvme,bus=p111,serial=d"),
    *_ports("pcie-root-port", 0x12),
    *("-device", "x3130-upstream,id=up,bus=p120"),
    *("-device", "xio3130-downstream,id=dn0,bus=up,addr=0.0,chassis=90,slot=90"),
    *("-device", "xio3130-downstream,id=dn1,bus=up,addr=1.0,chassis=91,slot=91"),
    *("-device", "nvme,bus=dn0,serial=e", "-device", "nvme,bus=dn1,serial=f"),
    *("-device", "nvme,bus=p121,serial=g"),
)
_OPEN = "pci=disable_acs_redir=0000:00:10.0;0000:00:10.1;0000:00:12.0;0000:00:12.1"
_CASES = (
    {"name": "root ports with ACS", "red": ["0000:01:00.0"], "blue": ["0000:02:00.0"], "possible": True},
    {"name": "root ports without ACS", "red": ["0000:03:00.0"], "blue": ["0000:04:00.0"], "possible": False},
    {
        "name": "a sub-hierarchy below one",
        "red": ["0000:07:00.0", "0000:08:00.0"],
        "blue": ["0000:09:00.0"],
        "possible": True,
    },
)


def run(setting: Setting) -> Report:
    """Boot every kernel of the setting, one after the other."""
    checks: list[Check] = []
    facts: dict[str, object] = {}
    for kernel in setting.kernels:
        files = {**guest_scripts("regroup", "verbs"), "scenario/asked.json": json.dumps(_CASES).encode()}
        run = Boot(kernel, _MACHINE, files, cmdline=f"intel_iommu=on {_OPEN}", name="regroup")
        result = boot(run, folder=setting.folder / f"regroup-{kernel}")
        setting.say(f"regroup on {kernel}: {result.seconds:.1f} s")
        checks += noted(kernel, result)
        facts[kernel] = {"seconds": round(result.seconds, 2), "groups": result.answer.get("facts")}
    return Report(tuple(checks), facts)
