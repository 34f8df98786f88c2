"""The running machine on each kernel: applied and released, registers, resets, groups, and wrong use told clearly."""

from __future__ import annotations

from lab.boot import Boot, boot
from lab.noted import noted
from lab.report import Check, Report, Setting
from lab.scenarios import guest_scripts

__all__ = ["MACHINE", "run"]

# Under emulation on a busy machine the kernel's test of its timer may fail, and it gives up.
_CMDLINE = "intel_iommu=on no_timer_check"

# Two devices below root ports of their own, and a switch (whose ports have no ACS) with two more below a third.
# x-speed: at the default speed the kernel waits, in a reset, for a link state that QEMU never shows.
MACHINE = (
    *("-device", "intel-iommu,intremap=on,caching-mode=on"),
    *("-device", "pcie-root-port,id=rp0,bus=pcie.0,addr=3.0,chassis=1,slot=1,x-speed=5"),
    *("-device", "pcie-root-port,id=rp1,bus=pcie.0,addr=4.0,chassis=2,slot=2,x-speed=5"),
    *("-device", "pcie-root-port,id=rp2,bus=pcie.0,addr=5.0,chassis=3,slot=3,x-speed=5"),
    *("-device", "e1000e,bus=rp0"),
    *("-device", "nvme,bus=rp1,serial=blue"),
    *("-device", "x3130-upstream,id=up,bus=rp2"),
    *("-device", "xio3130-downstream,id=dn0,bus=up,addr=0.0,chassis=4,slot=4"),
    *("-device", "xio3130-downstream,id=dn1,bus=up,addr=1.0,chassis=5,slot=5"),
    *("-device", "nvme,bus=dn0,serial=third"),
    *("-device", "nvme,bus=dn1,serial=fourth"),
)


def run(setting: Setting) -> Report:
    """Boot every kernel of the setting, one after the other."""
    checks: list[Check] = []
    facts: dict[str, object] = {}
    for kernel in setting.kernels:
        files = guest_scripts("live", "verbs")
        run = Boot(kernel, MACHINE, files, cmdline=_CMDLINE, name="live")
        result = boot(run, folder=setting.folder / f"live-{kernel}")
        setting.say(f"live on {kernel}: {result.seconds:.1f} s")
        checks += noted(kernel, result)
        facts[kernel] = {"release": result.answer.get("release"), "seconds": round(result.seconds, 2)}
    return Report(tuple(checks), facts)
