"""The lab's scenarios: one table, one module each with ``run(setting) -> Report``; ``guest`` has what runs inside."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from lab.errors import LabError, told_of
from lab.kernels import DEBIAN_KERNELS
from lab.report import Report, Setting, joined
from lab.stopping import StoppedError

__all__ = ["AT_ONCE", "SCENARIOS", "Scenario", "guest_scripts", "run_scenario"]

AT_ONCE = 2
"""Guests at once: each keeps one processor busy."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario of the table: what it shows, and the kernels it runs on unless others are asked for."""

    summary: str
    kernels: tuple[str, ...]
    mixed: bool = False
    """Whether it boots several kernels at once, and tells itself which of them could not be."""
    timed: bool = False
    """Whether it measures times of what runs beside its guest: one kernel after the other."""


_X86 = ("6.1", "6.12", "7", "iommufd")
_POWERNV = ("6.1-powernv", "6.12-powernv")

SCENARIOS = {
    "smoke": Scenario("each kernel boots; atoll reads it, predicts its groups, and a capture tells the same", _X86),
    "amd": Scenario("the same with AMD's IOMMU", ("6.1-full", "6.12-full", "7-full", "iommufd")),
    "virtio": Scenario("the same with a virtio IOMMU", ("6.12", "7", "iommufd")),
    "live": Scenario("devices are taken, reset, regrouped and given back; wrong use is told and changes nothing", _X86),
    "misuse": Scenario("each verb used wrongly in each way, and devices pulled and exchanged under it", _X86),
    "hold": Scenario(
        "two clusters of four emulated V100s held apart, while owners drive, attack and reset them", _X86, timed=True
    ),
    "pulled": Scenario("held devices are pulled: told, the others stay apart, and all ends well", _X86),
    "regroup": Scenario("what shares a group is taken apart by ACS, and put back, where ports have it", _X86),
    "asleep": Scenario("ports lose ACS that was set by hand when they sleep, and are kept awake", _X86),
    "powernv": Scenario("PowerNV: device tree, groups by partitionable endpoint, and a capture", _POWERNV),
    "kill": Scenario("apply, hold, release and recover are killed anywhere, under attack, and recovered from", _X86),
    "gpu": Scenario("two emulated GPUs: registers, links and their mask, resets, DMA, interrupt, attack", _X86),
    "a100": Scenario("two emulated A100s: a locked link, function level reset, DMA in shared memory", _X86),
    "machines": Scenario(
        "random machines: the groups of the kernel, of the twin, and as atoll predicts them", _X86, mixed=True
    ),
    "twin": Scenario(
        "the same operations on a twin and on the kernel: after each the same is visible", DEBIAN_KERNELS, mixed=True
    ),
    "ranges": Scenario(
        "IOVA ranges: what atoll says is left, and what the kernel gives", ("6.1", "6.12-full", "7-full", "iommufd")
    ),
    "vfio": Scenario("every call of atoll.vfio on real devices, over each interface that the kernel has", _X86),
}


def guest_scripts(main: str, *beside: str) -> dict[str, bytes]:
    """What a guest is to run, by paths inside: ``guest/MAIN.py``, and what it needs of the scripts ``beside`` it."""
    folder = Path(__file__).with_name("guest")
    found = {f"scenario/{name}.py": (folder / f"{name}.py").read_bytes() for name in beside}
    return {"scenario/main.py": (folder / f"{main}.py").read_bytes(), **found}


def run_scenario(name: str, setting: Setting) -> Report:
    """Run one scenario of the table. A kernel on which the lab itself fails takes nothing from what others show.

    Raises `LabError` for another name.
    """
    if name not in SCENARIOS:
        raise LabError(f"{name}: no scenario of the lab", f"There are {', '.join(SCENARIOS)}.")
    run: Callable[[Setting], Report] = import_module(f"lab.scenarios.{name}").run
    if SCENARIOS[name].mixed:
        return run(setting)

    def on(kernel: str) -> Report | LabError:
        try:
            report = run(replace(setting, kernels=(kernel,)))
        except (LabError, OSError) as problem:
            error = problem if isinstance(problem, LabError) else LabError(*told_of(problem))
            if not isinstance(error, StoppedError):  # why is told where the signal was heard
                setting.say(f"{name} on {kernel}: {error.message}")
            return error
        setting.so_far(kernel, report)
        return report

    with ThreadPoolExecutor(1 if SCENARIOS[name].timed else AT_ONCE) as pool:
        answers = dict(zip(setting.kernels, pool.map(on, setting.kernels), strict=True))
    failed = {kernel: answer for kernel, answer in answers.items() if isinstance(answer, LabError)}
    return joined((answer for answer in answers.values() if isinstance(answer, Report)), failed)
