"""Random machines, each as a twin and as a guest: the kernel's groups, the twin's, and those that atoll predicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from atoll.twin.spec import Blueprint
from atoll.twin.twin import Twin
from lab.boot import Boot, Result, boot
from lab.errors import LabError
from lab.kernels import DEBIAN_KERNELS
from lab.machine.machine import Iommu, Machine, build
from lab.machine.random import random_blueprint
from lab.report import Check, Report, Setting
from lab.scenarios import guest_file

__all__ = ["check", "run", "run_on"]

_AT_ONCE = 2
_SECONDS = 300.0
"""A large machine on a busy host is slow."""
_IOMMUS = (Iommu.INTEL, Iommu.AMD)

Groups = frozenset[frozenset[str]]


def run(setting: Setting) -> Report:
    """Boot ``repeat`` random machines on every kernel, Intel and AMD in turn."""
    tasks = [_task(kernel, setting.seed + number) for number in range(setting.repeat) for kernel in setting.kernels]
    checks: list[Check] = []
    seconds: list[float] = []

    def one(task: tuple[str, int, Iommu]) -> tuple[list[Check], float]:
        kernel, seed, iommu = task
        blueprint = random_blueprint(seed)
        machine = build(blueprint, iommu=iommu)
        folder = setting.folder / f"machines-{kernel}-{seed}"
        try:
            result = run_on(kernel, machine, folder)
        except LabError as error:
            failed = Check(kernel, f"machine {seed} with {iommu} boots", ok=False, detail=error.message)
            return [failed], 0.0
        return list(check(kernel, f"machine {seed} with {iommu}", blueprint, machine, result)), result.seconds

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for found, took in pool.map(one, tasks):
            checks += found
            seconds.append(took)
            setting.say(f"machines: {len(seconds)} of {len(tasks)} booted, the last in {took:.1f} s")
    facts = {"machines": setting.repeat, "boots": len(seconds), "mean_seconds": round(sum(seconds) / len(seconds), 2)}
    return Report(tuple(checks), facts)


def _task(kernel: str, seed: int) -> tuple[str, int, Iommu]:
    """Debian's small kernels lack AMD's IOMMU: the full one of the same release has it."""
    iommu = _IOMMUS[seed % len(_IOMMUS)]
    full = iommu is Iommu.AMD and kernel in DEBIAN_KERNELS
    return (f"{kernel}-full" if full else kernel), seed, iommu


def run_on(kernel: str, machine: Machine, folder: Path | None = None) -> Result:
    """One boot of a machine."""
    files = {"scenario/main.py": guest_file("machines")}
    return boot(
        Boot(kernel, machine.qemu, files, cmdline=machine.cmdline, seconds=_SECONDS, name="machine"), folder=folder
    )


def check(kernel: str, name: str, blueprint: Blueprint, machine: Machine, result: Result) -> Iterator[Check]:
    """Compare what the kernel made of a machine with the twin of the same blueprint, and with atoll's prediction."""
    if not result.ok:
        detail = str(result.answer.get("error", result.folder))
        yield Check(kernel, f"{name}: the scenario ends well", ok=False, detail=detail)
        return
    wanted = {str(address) for address in machine.addresses.values()}
    devices = set(_names(result.answer["devices"]))
    yield Check(
        kernel,
        f"{name}: every function is where it was declared",
        ok=wanted <= devices,
        detail=f"missing: {sorted(wanted - devices)}" if wanted - devices else "",
    )
    actual = _groups(result.answer["groups"])
    yield _equal(
        kernel, f"{name}: the twin has the kernel's groups", _twin_groups(blueprint, machine), _only(actual, wanted)
    )
    yield _equal(kernel, f"{name}: atoll reads the kernel's groups", _groups(result.answer["recorded"]), actual)
    yield _equal(kernel, f"{name}: atoll predicts the kernel's groups", _groups(result.answer["predicted"]), actual)


def _twin_groups(blueprint: Blueprint, machine: Machine) -> Groups:
    twin = Twin(blueprint)
    twin.kernel.boot()
    return frozenset(
        frozenset(str(machine.addresses[address]) for address in group.members if address in machine.addresses)
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


def _equal(kernel: str, says: str, found: Groups, wanted: Groups) -> Check:
    different = sorted(sorted(group) for group in found ^ wanted)
    return Check(kernel, says, ok=bool(wanted) and not different, detail=f"different: {different}" if different else "")
