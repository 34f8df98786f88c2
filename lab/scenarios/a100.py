"""An emulated A100 in a real kernel: a locked link survives a function level reset, and DMA in shared memory."""

from __future__ import annotations

from collections.abc import Iterator

from lab.boot import Result
from lab.gpu.gpus import Gpus
from lab.noted import ended
from lab.report import Check, Report, Setting
from lab.scenarios.gpu import run_on

__all__ = ["run"]

_SHARED = ("-object", "memory-backend-memfd,id=mem,size=512M,share=on")
_MACHINE = ("-M", "q35,kernel-irqchip=split,memory-backend=mem")
"""The guest's memory as a file: each DMA map then brings its descriptor, and the GPU's process reads it itself."""


def run(setting: Setting) -> Report:
    """Boot every kernel of the setting with two A100s, one after the other."""
    checks: list[Check] = []
    facts: dict[str, object] = {}
    for kernel in setting.kernels:
        folder = setting.folder / f"a100-{kernel}"
        with Gpus(count=2, links=((0, 0, 1, 0),), folder=folder / "gpus", model="a100") as gpus:
            result = run_on(kernel, gpus, folder / "boot", guest="a100", more=(*_SHARED, *_MACHINE))
            kinds = [event["kind"] for event in gpus.record().named("reset", 0)]
        setting.say(f"a100 on {kernel}: {result.seconds:.1f} s")
        if result.ok:
            checks += _checks(kernel, result, gpus, kinds)
        else:
            checks += ended(kernel, result)
        facts[kernel] = {"seconds": round(result.seconds, 2)}
    return Report(tuple(checks), facts)


def _checks(kernel: str, result: Result, gpus: Gpus, kinds: list[object]) -> Iterator[Check]:
    first, second = (secret.decode() for secret in gpus.secrets)
    for says, name, wanted in (
        ("the kernel resets it by function level reset first", "methods", ["flr", "bus"]),
        ("BAR 0 names the chip", "boot", 0x170000A1),
        ("an open link lets each GPU read the other's memory", "before", [second, first]),
        ("a locked link stops both directions", "cut", ["errno 67", "errno 121"]),
        ("VFIO's reset does not open it", "after reset", [1, "errno 121"]),
        ("DMA reads what VFIO mapped", "mapped", "guest memory"),
        ("DMA writes it", "written", "from the gpu"),
    ):
        found = result.answer[name]
        yield Check(kernel, says, ok=found == wanted, detail="" if found == wanted else f"{found!r}, not {wanted!r}")
    refused = str(result.answer["unmapped"])
    yield Check(kernel, "the IOMMU refuses DMA to what is not mapped", ok=refused.startswith("errno "), detail=refused)
    yield Check(kernel, "the function level reset reached the device", ok="flr" in kinds, detail=f"resets: {kinds}")
