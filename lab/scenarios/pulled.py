"""Held devices are pulled: the holder says so, the others' links stay cut, and all ends well."""

from __future__ import annotations

import json
from pathlib import Path

from lab.boot import Boot, Result, boot
from lab.gpu.gpus import Gpus, guest_files
from lab.gpu.record import Record
from lab.noted import noted
from lab.report import Check, Report, Setting
from lab.scenarios import guest_scripts
from lab.scenarios.hold import all_to_all

__all__ = ["checks_of", "run", "run_on"]

_COUNT = 3
"""Two GPUs of red's, one of blue's."""
_INTERVAL = 0.001
"""Seconds between two attacks by the GPUs themselves."""
_END = 1 << 63


def run(setting: Setting) -> Report:
    """Boot every kernel of the setting, one after the other."""
    checks: list[Check] = []
    facts: dict[str, object] = {}
    for kernel in setting.kernels:
        folder = setting.folder / f"pulled-{kernel}"
        links = all_to_all(_COUNT)
        with Gpus(count=_COUNT, links=links, folder=folder / "gpus", attack=_INTERVAL, memory=64 << 20) as gpus:
            result = run_on(kernel, gpus, folder / "boot")
            record = gpus.record()
        setting.say(f"pulled on {kernel}: {result.seconds:.1f} s")
        checks += checks_of(kernel, result, record)
        found = result.answer.get("facts")
        facts[kernel] = {"seconds": round(result.seconds, 2), **(found if isinstance(found, dict) else {})}
    return Report(tuple(checks), facts)


def run_on(kernel: str, gpus: Gpus, folder: Path | None = None) -> Result:
    """One boot with GPUs, each below a root port of its own, from which it can be pulled."""
    # x-speed: at more, the kernel waits after a reset for a link state that QEMU never shows.
    port = "pcie-root-port,bus=pcie.0,x-speed=5,id=rp{0},chassis={1},slot={1}"
    devices = [("-device", port.format(i, i + 1), "-device", gpus.qemu(i, bus=f"rp{i}")) for i in range(_COUNT)]
    qemu = ("-device", "intel-iommu,intremap=on,caching-mode=on", *(word for device in devices for word in device))
    told = {
        "secrets": [secret.decode() for secret in gpus.secrets],
        "links": gpus.links,
        "again": [gpus.qemu(i, bus=f"rp{i}") for i in range(_COUNT)],
    }
    files = {
        **guest_scripts("pulled", "child", "hold_owner", "hold_run", "plug"),
        "scenario/setting.json": json.dumps(told).encode(),
        **guest_files(),
    }
    run = Boot(kernel, qemu, files, memory=1024, monitor=True, name="pulled")
    return boot(run, folder=folder)


def checks_of(kernel: str, result: Result, record: Record) -> list[Check]:
    """What the guest found, and what the GPUs saw."""
    checks = [*noted(kernel, result)]
    breaches = record.breaches(0, _END)
    says = "by the GPUs' logs no link was open between two owners that both ran, at any time"
    checks.append(Check(kernel, says, ok=not breaches, detail=f"open: {breaches}"))
    owners = {event["token"] for event in record.named("owner")} - {0}
    resets = record.named("reset")
    checks.append(Check(kernel, "owners ran, and reset", ok=len(owners) > 1 and bool(resets), detail=f"{owners}"))
    return checks
