"""Ports that the kernel puts to sleep: what becomes of ACS that was set by hand, and that ``apply`` keeps them awake.

The kernel is told at boot not to redirect at these ports (``pci=disable_acs_redir=``), and to let ports sleep that
leave no register of power management to do it by (``pcie_port_pm=force``), as QEMU's do; one that takes hot-plug never
sleeps.
"""

from __future__ import annotations

from lab.boot import Boot, boot
from lab.noted import noted
from lab.report import Check, Report, Setting
from lab.scenarios import guest_scripts

__all__ = ["run"]

# At the default speed QEMU does not show the link as up.
_PORT = "pcie-root-port,bus=pcie.0,x-speed=5,hotplug=off"
_MACHINE = (
    *("-device", "intel-iommu,intremap=on,caching-mode=on"),
    *("-device", f"{_PORT},id=p0,addr=10.0,multifunction=on,chassis=1,slot=1"),
    *("-device", f"{_PORT},id=p1,addr=10.1,multifunction=on,chassis=2,slot=2"),
    *("-device", "nvme,bus=p0,serial=a", "-device", "nvme,bus=p1,serial=b"),
)
_CMDLINE = "intel_iommu=on pcie_port_pm=force pci=disable_acs_redir=0000:00:10.0;0000:00:10.1"


def run(setting: Setting) -> Report:
    """Boot every kernel of the setting, one after the other."""
    checks: list[Check] = []
    facts: dict[str, object] = {}
    for kernel in setting.kernels:
        run = Boot(kernel, _MACHINE, guest_scripts("asleep", "verbs"), cmdline=_CMDLINE, name="asleep")
        result = boot(run, folder=setting.folder / f"asleep-{kernel}")
        setting.say(f"asleep on {kernel}: {result.seconds:.1f} s")
        checks += noted(kernel, result)
        facts[kernel] = {"seconds": round(result.seconds, 2), "seen": result.answer.get("facts")}
    return Report(tuple(checks), facts)
