"""Wrong use of a live host, for each verb that changes it: one clear line, nothing half-done.

Devices are also pulled and exchanged while atoll works on them: the guest asks its own emulator to.
"""

from __future__ import annotations

from lab.boot import Boot, Result, boot
from lab.kernels import DEBIAN_KERNELS
from lab.noted import noted
from lab.report import Check, Report, Setting
from lab.scenarios import guest_scripts

__all__ = ["MACHINE", "checks_of", "run", "run_on"]

# x-speed: at the default speed the kernel waits, in a reset, for a link state that QEMU never shows.
MACHINE = (
    *("-device", "intel-iommu,intremap=on,caching-mode=on"),
    *("-device", "pcie-root-port,id=rp0,bus=pcie.0,addr=3.0,chassis=1,slot=1,x-speed=5"),
    *("-device", "pcie-root-port,id=rp1,bus=pcie.0,addr=4.0,chassis=2,slot=2,x-speed=5"),
    *("-device", "e1000e,id=red0,bus=rp0,romfile="),
    *("-device", "nvme,id=blue0,bus=rp1,serial=blue"),
)


def run(setting: Setting) -> Report:
    """Boot every kernel of the setting, one after the other."""
    checks: list[Check] = []
    facts: dict[str, object] = {}
    for kernel in setting.kernels:
        result = run_on(kernel, setting)
        setting.say(f"misuse on {kernel}: {result.seconds:.1f} s")
        checks += checks_of(kernel, result)
        facts[kernel] = {
            "seconds": round(result.seconds, 2),
            **{name: result.answer.get(name) for name in ("writes", "lockdown")},
        }
    return Report(tuple(checks), facts)


def run_on(kernel: str, setting: Setting) -> Result:
    """One boot."""
    files = guest_scripts("misuse", "misuse_bench", "plug", "verbs")
    run = Boot(
        *(kernel, MACHINE, files),
        cmdline="intel_iommu=on no_timer_check",
        monitor=True,
        name="misuse",
    )
    return boot(run, folder=setting.folder / f"misuse-{kernel}")


def checks_of(kernel: str, result: Result) -> list[Check]:
    """What the guest found."""
    checks = [*noted(kernel, result)]
    if result.ok and kernel in DEBIAN_KERNELS:
        checks.append(Check(kernel, "it can be locked down", ok=result.answer.get("lockdown") is True))
    return checks
