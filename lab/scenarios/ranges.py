"""What ``atoll iova`` says is left of an IOMMU's addresses, beside what the kernel gives to who opens the device.

Of several widths and kinds of page table. Whatever atoll calls usable, the kernel has to give; where atoll notes no
fact that it could not read, aperture less reserved regions is exactly what the kernel gives.
"""

from __future__ import annotations

from collections.abc import Iterator

from atoll.isolation.iova.ranges import Ranges
from lab.boot import Boot, Result, boot
from lab.noted import ended
from lab.report import Check, Report, Setting
from lab.scenarios import guest_scripts
from lab.scenarios.amd import AMD

__all__ = ["VARIANTS", "compare", "run"]

_DEVICES = (
    *("-device", "pcie-root-port,id=rp0,bus=pcie.0,chassis=1,slot=1,x-speed=5"),
    *("-device", "nvme,bus=rp0,serial=lab"),
)


def _intel(options: str) -> tuple[str, ...]:
    return ("-device", f"intel-iommu,intremap=on,caching-mode=on,{options}")


VARIANTS = {
    "39 bits": (_intel("aw-bits=39"), "intel_iommu=on"),
    "48 bits": (_intel("aw-bits=48"), "intel_iommu=on"),
    "first stage": (_intel("aw-bits=48,scalable-mode=on,fsts=on"), "intel_iommu=on,sm_on"),
    "first stage, off": (_intel("aw-bits=48,scalable-mode=on,fsts=on"), "intel_iommu=on,sm_off"),
    "AMD": (AMD, "amd_iommu=on"),
}
"""By name: the IOMMU as QEMU takes it, and the kernel's command line."""


def run(setting: Setting) -> Report:
    """Boot every kernel of the setting with every variant that it has a driver for."""
    checks: list[Check] = []
    facts: dict[str, object] = {}
    for kernel in setting.kernels:
        for name, (iommu, cmdline) in VARIANTS.items():
            if iommu == AMD and not kernel.endswith(("full", "iommufd")):
                continue
            files = guest_scripts("ranges", "verbs")
            folder = setting.folder / f"ranges-{kernel}-{name.replace(' ', '-').replace(',', '')}"
            result = boot(Boot(kernel, (*iommu, *_DEVICES), files, cmdline=cmdline, name="ranges"), folder=folder)
            setting.say(f"ranges on {kernel}, {name}: {result.seconds:.1f} s")
            # Before the generic page tables (7) AMD's driver claims 64 bits, whatever the hardware can walk.
            checks += _checks(f"{kernel}, {name}", result, more=iommu == AMD and kernel.startswith("6."))
            facts[f"{kernel}, {name}"] = {key: result.answer.get(key) for key in ("ranges", "refused", "registers")}
    return Report(tuple(checks), facts)


def _checks(where: str, result: Result, *, more: bool) -> Iterator[Check]:
    if not result.ok:
        yield from ended(where, result)
        return
    document, given = result.answer["document"], result.answer["ranges"]
    assert isinstance(document, dict)
    assert isinstance(given, dict)
    yield Check(where, "the kernel gives the device to a user", ok=bool(given), detail=str(result.answer))
    for api, ranges in given.items():
        opened = Ranges.of(*((a, b) for a, b in ranges))
        yield from compare(f"{where}, {api}", document["clusters"][0], opened, more=more)


def compare(where: str, cluster: dict[str, object], given: Ranges, *, more: bool = False) -> Iterator[Check]:
    """Check one cluster of the document against the ranges that the kernel gave; ``more``: it may give more."""
    aperture, usable, reserved = cluster["aperture"], cluster["usable"], cluster["reserved"]
    assert isinstance(aperture, dict)
    assert isinstance(usable, list)
    assert isinstance(reserved, list)
    taken = Ranges.of(*(_ends(one) for one in reserved if one["type"] != "direct-relaxable"))
    left = Ranges.of(_ends(aperture)) - taken
    told = f"kernel {_words(given)}, atoll {_words(left)}"
    yield Check(where, "the kernel gives all that is called usable", ok=not _all(usable) - given, detail=told)
    yield Check(where, "the kernel gives the aperture less what is reserved", ok=not left - given, detail=told)
    if not cluster["notes"] and not more:
        yield Check(where, "and nothing else", ok=left == given, detail=told)


def _ends(part: dict[str, str]) -> tuple[int, int]:
    return int(part["start"], 16), int(part["end"], 16)


def _all(parts: list[dict[str, str]]) -> Ranges:
    return Ranges.of(*map(_ends, parts))


def _words(ranges: Ranges) -> str:
    return ", ".join(f"0x{part.start:x}-0x{part.end:x}" for part in ranges) or "nothing"
