"""Random machines, each as a twin and as a guest: the kernel's groups, the twin's, and those that atoll predicts."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from atoll.twin.spec import Blueprint
from atoll.twin.twin import Twin
from lab.boot import Boot, Result, boot
from lab.errors import LabError
from lab.kernels import DEBIAN_KERNELS
from lab.machine.cmdline import random_cmdline
from lab.machine.machine import Iommu, Machine, build
from lab.machine.random import random_blueprint
from lab.report import Check, Report, Setting
from lab.scenarios import guest_file
from lab.scenarios.smoke import groups_outside

__all__ = ["Draw", "check", "run", "run_on"]

_AT_ONCE = 2
_SECONDS = 600.0
"""A large machine on a busy host is slow."""
_IOMMUS = (Iommu.INTEL, Iommu.AMD)
_VIRTIO = ("7",)
"""Kernels on which every eighth seed takes the virtio IOMMU. On Linux 6.12 a function gets its group there when a
driver binds to it, not when it is found: what is predicted of functions without drivers is not to be compared.
"""
_ROUNDS = 2
"""How often functions are removed and found again in one boot."""

Groups = frozenset[frozenset[str]]


@dataclass(frozen=True, slots=True)
class Draw:
    """One machine on one kernel, as drawn from a seed."""

    kernel: str
    seed: int
    blueprint: Blueprint
    machine: Machine
    iommu: Iommu = Iommu.INTEL
    cmdline: str = ""
    """What the kernel is told beyond what the machine needs."""
    rounds: int = _ROUNDS

    @property
    def name(self) -> str:
        """What to call it in checks: enough to draw it again."""
        return f"machine {self.seed} with {self.iommu}{f' ({self.cmdline})' if self.cmdline else ''}"


def run(setting: Setting) -> Report:
    """Boot ``repeat`` random machines on every kernel, Intel and AMD in turn."""
    draws = [_draw(kernel, setting.seed + number) for number in range(setting.repeat) for kernel in setting.kernels]
    checks: list[Check] = []
    seconds: list[float] = []
    counts: Counter[str] = Counter()

    def one(draw: Draw) -> tuple[Draw, list[Check], Result | None]:
        folder = setting.folder / f"machines-{draw.kernel}-{draw.seed}"
        try:
            result = run_on(draw, folder)
        except LabError as error:
            return draw, [Check(draw.kernel, f"{draw.name} boots", ok=False, detail=error.message)], None
        found = list(check(draw, result))
        if not all(each.ok for each in found):
            (folder / "answer.json").write_text(json.dumps(result.answer, indent=1))
        return draw, found, result

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for draw, found, result in pool.map(one, draws):
            checks += found
            seconds.append(result.seconds if result else 0.0)
            counts[f"{draw.kernel} {draw.iommu}: machines"] += 1
            counts[f"{draw.kernel} {draw.iommu}: comparisons"] += _comparisons(result)
            setting.say(f"machines: {len(seconds)} of {len(draws)} booted, the last in {seconds[-1]:.1f} s")
            for each in found:
                if not each.ok:
                    setting.say(f"machines: {each.kernel}: not so: {each.says}: {each.detail}")
    facts = {
        "machines": setting.repeat,
        "boots": len(seconds),
        "mean_seconds": round(sum(seconds) / len(seconds), 2),
        "counts": dict(sorted(counts.items())),
    }
    return Report(tuple(checks), facts)


def _draw(kernel: str, seed: int) -> Draw:
    """Debian's small kernels lack AMD's IOMMU: the full one of the same release has it."""
    iommu = _IOMMUS[seed % len(_IOMMUS)]
    if seed % 8 == 6 and kernel in _VIRTIO:
        iommu = Iommu.VIRTIO
    blueprint = random_blueprint(seed)
    machine = build(blueprint, iommu=iommu)
    # The virtio IOMMU's driver is a module: what the command line says of other IOMMUs does not matter.
    cmdline = "" if iommu is Iommu.VIRTIO else random_cmdline(random.Random(seed), blueprint, kernel, iommu)
    full = iommu is Iommu.AMD and kernel in DEBIAN_KERNELS
    return Draw(f"{kernel}-full" if full else kernel, seed, blueprint, machine, iommu, cmdline)


def run_on(draw: Draw, folder: Path | None = None) -> Result:
    """One boot of a machine."""
    asked = {
        "seed": draw.seed,
        "rounds": draw.rounds,
        "functions": [str(address) for address in draw.machine.addresses.values()],
        "roots": sorted({0, *(bridge.bus for bridge in draw.blueprint.bridges)}),
        "acs_options": "acs" in draw.cmdline,
    }
    files = {"scenario/main.py": guest_file("machines"), "scenario/asked.json": json.dumps(asked).encode()}
    cmdline = f"{draw.machine.cmdline} {draw.cmdline}"
    run = Boot(draw.kernel, draw.machine.qemu, files, cmdline=cmdline, name="machine", seconds=_SECONDS)
    return boot(run, folder=folder)


def check(draw: Draw, result: Result) -> Iterator[Check]:
    """Compare what the kernel made of a machine with the twin of the same blueprint, and with atoll's prediction."""
    kernel, name = draw.kernel, draw.name
    if not result.ok:
        detail = str(result.answer.get("error", result.folder))
        yield Check(kernel, f"{name}: the scenario ends well", ok=False, detail=detail)
        return
    wanted = {str(address) for address in draw.machine.addresses.values()}
    devices = set(_names(result.answer["devices"]))
    yield Check(
        kernel,
        f"{name}: every function is where it was declared",
        ok=wanted <= devices,
        detail=f"missing: {sorted(wanted - devices)}" if wanted - devices else "",
    )
    off = "iommu=off" in draw.cmdline
    actual = _groups(result.answer["groups"])
    if not off and "acs" not in draw.cmdline and draw.iommu is not Iommu.VIRTIO:
        yield _equal(kernel, f"{name}: the twin has the kernel's groups", _twin_groups(draw), _only(actual, wanted))
    yield _equal(kernel, f"{name}: atoll reads the kernel's groups", _groups(result.answer["recorded"]), actual, off)
    yield _equal(
        kernel, f"{name}: atoll predicts the kernel's groups", _groups(result.answer["predicted"]), actual, off
    )
    moments = result.answer["moments"]
    assert isinstance(moments, list)
    for moment in moments:
        says = f"{name}: atoll predicts the kernel's groups after {moment['what']}"
        yield _equal(kernel, says, _groups(moment["predicted"]), _groups(moment["groups"]), off)
    capture = result.folder / "host.tar.xz"
    capture.write_bytes(result.files["host.tar.xz"])
    document, outside = result.answer["document"], groups_outside(capture)
    assert isinstance(document, dict)
    same = {**outside, "host": ""} == {**document, "host": ""}
    yield Check(kernel, f"{name}: its capture gives the same document outside", ok=same, detail=f"see {capture}")


def _comparisons(result: Result | None) -> int:
    moments = result.answer.get("moments") if result is not None else None
    return 1 + len(moments) if isinstance(moments, list) else 0


def _twin_groups(draw: Draw) -> Groups:
    twin = Twin(draw.blueprint)
    twin.kernel.boot()
    addresses = draw.machine.addresses
    return frozenset(
        frozenset(str(addresses[address]) for address in group.members if address in addresses)
        for group in twin.kernel.groups.values()
    )


def _only(groups: Groups, wanted: set[str]) -> Groups:
    """Leave out what only the emulator has: its chipset, expanders, IOMMU."""
    return frozenset(group & wanted for group in groups if group & wanted)


def _groups(told: object) -> Groups:
    assert isinstance(told, list)
    return frozenset(frozenset(_names(group)) for group in told)


def _names(told: object) -> Iterable[str]:
    assert isinstance(told, list)
    return [str(name) for name in told]


def _equal(kernel: str, says: str, found: Groups, wanted: Groups, none: bool = False) -> Check:
    """``none``: whether there are to be no groups at all; otherwise no group is no agreement."""
    different = sorted(sorted(group) for group in found ^ wanted)
    ok = bool(wanted) is not none and not different
    return Check(kernel, says, ok=ok, detail="" if ok else f"different: {different}, of the kernel's {len(wanted)}")
