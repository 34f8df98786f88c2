"""Every call of ``atoll.vfio`` on real devices: DMA that arrives or does not, interrupts, resets, refusals."""

from __future__ import annotations

from collections.abc import Mapping

from lab.boot import Boot, Result, boot
from lab.noted import ended
from lab.report import Check, Report, Setting
from lab.scenarios import guest_scripts

__all__ = ["MACHINE", "run"]

# Ports of 5 GT/s: at more, the kernel waits for a link that the emulator never reports, and the reset fails.
MACHINE = (
    *("-device", "intel-iommu,intremap=on,caching-mode=on"),
    *("-device", "pcie-root-port,id=rp0,bus=pcie.0,chassis=1,slot=1,x-speed=5"),
    *("-device", "pcie-root-port,id=rp1,bus=pcie.0,chassis=2,slot=2,x-speed=5"),
    *("-device", "e1000e,bus=rp0"),
    *("-device", "nvme,bus=rp1,serial=lab"),
    *("-device", "edu,bus=pcie.0"),
)

_HOLDS: Mapping[str, object] = {
    "id": True,
    "store": True,
    "config": True,
    "DMA": True,
    "DMA without bus master": False,
    "DMA after unmapping": False,
    "MSI": 1,
    "MSI by trigger": 1,
    "INTx": 1,
    "MSI-X by trigger": 1,
    "reset": True,
    "after sleep": True,
    "handed": [True, True, True, True],
    "kept after the owner's end": True,
    "reset by closing and opening": True,
    "left open": [],
}
"""What the guest finds, over either interface."""
_REFUSED: Mapping[str, tuple[str, str]] = {
    "mapped twice": ("MappingError", "EEXIST"),
    "mapped in a hole": ("MappingError", "EINVAL"),
    "mapped askew": ("MappingError", "EINVAL"),
    "decoding off": ("VfioError", "EIO"),
    "hot reset of what has none": ("HotResetRefused", "ENODEV"),
    "not bound": ("NotBound", "ENODEV"),
    "not there": ("NotBound", "ENODEV"),
}
"""What is refused over either interface, and how."""


def run(setting: Setting) -> Report:
    """Boot every kernel of the setting, one after the other."""
    checks: list[Check] = []
    facts: dict[str, object] = {}
    for kernel in setting.kernels:
        files = guest_scripts("vfio")
        result = boot(Boot(kernel, MACHINE, files, name="vfio"), folder=setting.folder / f"vfio-{kernel}")
        setting.say(f"vfio on {kernel}: {result.seconds:.1f} s")
        checks += _checks(kernel, result)
        facts[kernel] = {"release": result.answer.get("release"), "found": result.answer.get("found")}
    return Report(tuple(checks), facts)


def _checks(kernel: str, result: Result) -> list[Check]:
    if not result.ok:
        return [*ended(kernel, result)]
    found = result.answer["found"]
    assert isinstance(found, dict)
    expected = {"legacy", "iommufd"} if kernel == "iommufd" else {"legacy"}
    checks = [Check(kernel, "the interfaces are found", ok=set(found) == expected, detail=str(sorted(found)))]
    for api, said in found.items():
        assert isinstance(said, dict)
        for name, value in _HOLDS.items():
            checks.append(
                Check(kernel, f"{api}: {name} is {value}", ok=said.get(name) == value, detail=str(said.get(name)))
            )
        for name, kind in _REFUSED.items():
            checks.append(_refused(kernel, api, name, said.get(name), kind))
        checks.append(_refused(kernel, api, "held twice", said.get("held twice"), ("Busy", None)))
        checks.append(
            Check(
                kernel,
                f"{api}: who holds it is told",
                ok=f"process {result.answer['pid']} (python3)" in str(said.get("held twice")),
                detail=str(said.get("held twice")),
            )
        )
        nic = result.answer["nic"]
        checks.append(
            Check(kernel, f"{api}: a hot reset hits", ok=said.get("hot reset") == [[nic], True], detail=str(said))
        )
        if len(expected) > 1:
            other = said.get("held by the other interface")
            checks.append(_refused(kernel, api, "held by the other interface", other, ("Busy", None)))
    return checks


def _refused(kernel: str, api: str, name: str, said: object, kind: tuple[str, str | None]) -> Check:
    """That an error was raised: of this kind, with this number unless it is None, and a hint."""
    ok = isinstance(said, list) and len(said) == 4 and said[0] == kind[0] and said[3] is True
    ok = ok and (kind[1] is None or (isinstance(said, list) and said[1] == kind[1]))
    return Check(kernel, f"{api}: {name} is {kind[0]}", ok=ok, detail=str(said))
