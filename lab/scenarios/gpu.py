"""The emulated GPU in a real kernel: registers, links, mask, resets, DMA through the IOMMU, interrupt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lab.boot import Boot, Result, boot
from lab.gpu.gpus import Gpus, guest_files
from lab.noted import ended
from lab.report import Check, Report, Setting
from lab.scenarios import guest_scripts

__all__ = ["run", "run_on"]

_LINK = (0, 0, 1, 0)
_INTERVAL = 0.001
"""Seconds between two attacks."""
_ENOLINK, _EREMOTEIO, _EPERM = "errno 67", "errno 121", "errno 1"


def run(setting: Setting) -> Report:
    """Boot every kernel of the setting with two GPUs that attack each other, one after the other."""
    checks: list[Check] = []
    facts: dict[str, object] = {}
    for kernel in setting.kernels:
        folder = setting.folder / f"gpu-{kernel}"
        with Gpus(count=2, links=(_LINK,), folder=folder / "gpus", attack=_INTERVAL) as gpus:
            result = run_on(kernel, gpus, folder / "boot")
            seen = [attempt.reads for attempt in gpus.attacks() if attempt.gpu == 0]
        setting.say(f"gpu on {kernel}: {result.seconds:.1f} s")
        if result.ok:
            checks += _checks(kernel, result, gpus, seen)
            sysfs = _part(result, "sysfs")
            facts[kernel] = {"seconds": round(result.seconds, 2), "microseconds_a_read": sysfs["microseconds_a_read"]}
        else:
            checks += ended(kernel, result)
    return Report(tuple(checks), facts)


def run_on(
    kernel: str, gpus: Gpus, folder: Path | None = None, *, guest: str = "gpu", more: tuple[str, ...] = ()
) -> Result:
    """One boot with two GPUs, each below a root port of its own; ``guest`` is what runs, ``more`` goes to QEMU."""
    # At this speed a port has no link-active bit to wait for: QEMU never sets it, and the kernel would call the
    # device lost after a reset.
    port = "pcie-root-port,bus=pcie.0,x-speed=5,id=rp{0},chassis={1},slot={1}"
    devices = [("-device", port.format(i, i + 1), "-device", gpus.qemu(i, bus=f"rp{i}")) for i in range(2)]
    qemu = (
        *more,
        "-device",
        "intel-iommu,intremap=on,caching-mode=on",
        *(word for device in devices for word in device),
    )
    files = {**guest_scripts(guest), **guest_files()}
    return boot(Boot(kernel, qemu, files, name=guest), folder=folder)


def _part(result: Result, name: str) -> dict[str, object]:
    part = result.answer[name]
    assert isinstance(part, dict)
    return part


def _checks(kernel: str, result: Result, gpus: Gpus, seen: list[bool]) -> Iterator[Check]:
    first, second = (secret.decode() for secret in gpus.secrets)
    sysfs, vfio = _part(result, "sysfs"), _part(result, "vfio")
    groups = sysfs["groups"]
    assert isinstance(groups, list)
    for says, found, wanted in (
        ("the kernel finds two V100s", sysfs["ids"], ["0x1db1"] * 2),
        ("each is in a group of its own", len(set(groups)), 2),
        ("BAR 0 names the chip", sysfs["boot"], 0x140000A1),
        ("a bus reset is the only reset", sysfs["methods"], "bus"),
        ("open links let each GPU read the other's memory", sysfs["before"], [second, first]),
        ("the mask takes", sysfs["mask"], 0x10000),
        ("writing zeroes does not open it", sysfs["mask kept"], 0x10000),
        ("a mask at one end stops both directions", sysfs["cut"], [_EREMOTEIO, _ENOLINK]),
        ("a reset takes the mask away", sysfs["mask after reset"], 0),
        ("and opens the link", sysfs["after reset"], second),
        ("DMA reads what VFIO mapped", vfio["mapped"], "guest memory"),
        ("DMA writes it", vfio["written"], "from the gpu"),
        ("DMA needs bus mastering", vfio["no master"], _EPERM),
        ("an order's end arrives as an interrupt", vfio["interrupt"], 1),
        ("VFIO's reset takes the mask away", (vfio["mask"], vfio["mask after reset"]), (0x10000, 0)),
        ("the attack saw the link open, cut and open again", seen[:3], [True, False, True]),
    ):
        yield Check(kernel, says, ok=found == wanted, detail="" if found == wanted else f"{found!r}, not {wanted!r}")
    refused = [str(vfio[name]) for name in ("unmapped", "unmapped again")]
    yield Check(
        kernel,
        "the IOMMU refuses DMA to what is not mapped",
        ok=all(told.startswith("errno ") for told in refused),
        detail=f"found {refused}",
    )
