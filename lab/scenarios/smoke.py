"""Each kernel boots with a small machine; atoll reads it inside, and its capture gives the same answer outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from lab.boot import Boot, Result, boot
from lab.guest.image import SOURCE
from lab.noted import ended
from lab.report import Check, Report, Setting
from lab.scenarios import guest_scripts

__all__ = ["DEVICES", "INTEL", "check_groups", "groups_outside", "run", "run_machine", "run_on"]

INTEL = ("-device", "intel-iommu,intremap=on,caching-mode=on")

# Root ports with a device each, a multifunction slot without ACS, and a device on the root bus.
DEVICES = (
    *("-device", "pcie-root-port,id=rp0,bus=pcie.0,chassis=1,slot=1"),
    *("-device", "pcie-root-port,id=rp1,bus=pcie.0,chassis=2,slot=2"),
    *("-device", "pcie-root-port,id=rp2,bus=pcie.0,chassis=3,slot=3"),
    *("-device", "e1000e,bus=rp0"),
    *("-device", "nvme,bus=rp1,serial=lab"),
    *("-device", "nvme,bus=rp2,serial=lab0,addr=0.0,multifunction=on", "-device", "nvme,bus=rp2,serial=lab1,addr=0.1"),
    *("-device", "edu,bus=pcie.0"),
)


def run(setting: Setting) -> Report:
    """The small machine with Intel's IOMMU."""
    return run_machine("smoke", setting, (*INTEL, *DEVICES), cmdline="intel_iommu=on")


def run_machine(name: str, setting: Setting, machine: tuple[str, ...], *, cmdline: str) -> Report:
    """Boot every kernel of the setting with a machine, one after the other, and check what atoll said of it."""
    checks: list[Check] = []
    facts: dict[str, object] = {}
    for kernel in setting.kernels:
        result = run_on(kernel, setting.folder / f"{name}-{kernel}", machine=machine, cmdline=cmdline)
        setting.say(f"{name} on {kernel}: {result.seconds:.1f} s")
        checks += check_groups(kernel, result, setting.folder / f"{name}-{kernel}.tar.xz")
        checks.append(_check_vfio(kernel, result))
        facts[kernel] = {
            "release": result.answer.get("release"),
            "seconds": round(result.seconds, 2),
            "groups": result.answer.get("groups"),
        }
    return Report(tuple(checks), facts)


def run_on(
    kernel: str, folder: Path, *, machine: tuple[str, ...] = (*INTEL, *DEVICES), cmdline: str = "intel_iommu=on"
) -> Result:
    """One boot; its folder is kept."""
    files = guest_scripts("smoke", "verbs")
    return boot(Boot(kernel, machine, files, cmdline=cmdline, name="smoke"), folder=folder)


def check_groups(kernel: str, result: Result, capture: Path) -> list[Check]:
    """That the reader saw what sysfs shows, that the groups are as predicted, and that the capture tells the same.

    ``capture``: where to put the archive that the guest handed back.
    """
    if not result.ok:
        return [*ended(kernel, result)]
    document, groups = result.answer["document"], result.answer["groups"]
    assert isinstance(document, dict)
    assert isinstance(groups, dict)
    capture.write_bytes(result.files["host.tar.xz"])
    again = groups_outside(capture)
    return [
        _equal(kernel, "the groups read are those of sysfs", document["recorded"], groups.values()),
        _equal(kernel, "the groups predicted are those of the kernel", document["predicted"], document["recorded"]),
        Check(
            kernel,
            "the capture gives the same document on another machine",
            ok={**again, "host": ""} == {**document, "host": ""},
            detail=f"see {capture}",
        ),
    ]


def _equal(kernel: str, says: str, first: Iterable[Iterable[str]], second: Iterable[Iterable[str]]) -> Check:
    left, right = {frozenset(group) for group in first}, {frozenset(group) for group in second}
    difference = [sorted(group) for group in left ^ right]
    return Check(
        kernel, says, ok=bool(left) and not difference, detail=f"different: {difference}" if difference else ""
    )


def _check_vfio(kernel: str, result: Result) -> Check:
    """Every kernel has VFIO's container; the one that was built for it has iommufd."""
    found = (result.answer.get("vfio"), result.answer.get("iommufd"))
    return Check(
        kernel, "VFIO is there", ok=found == (True, kernel == "iommufd"), detail=f"container, iommufd: {found}"
    )


def groups_outside(capture: Path) -> dict[str, object]:
    """What ``atoll groups --json`` says of a capture, on this machine; ``error`` where it says nothing."""
    done = subprocess.run(
        (sys.executable, "-m", "atoll", "groups", "--json", "--host", str(capture)),
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    document = json.loads(done.stdout) if done.stdout else {"error": done.stderr}
    assert isinstance(document, dict)
    return document
