"""Two clusters of emulated V100s held apart on a real kernel, while their owners drive, attack and reset them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path

from lab.boot import Boot, Result, boot
from lab.gpu.gpus import Gpus, guest_files
from lab.gpu.record import Record
from lab.noted import noted
from lab.report import Check, Report, Setting
from lab.scenarios import guest_scripts

__all__ = ["all_to_all", "checks_of", "run", "run_on"]

_INTERVAL = 0.001
"""Seconds between two attacks by the GPUs themselves."""
_RESETS = 4
"""How often each owner resets a GPU."""
_ALONE = 100
"""The token by which the guest tells that the holder is about to go."""


def all_to_all(count: int) -> tuple[tuple[int, int, int, int], ...]:
    """Return links among all, as many as a V100's six give each pair: with four GPUs, two."""
    each = 6 // (count - 1)
    found = []
    for a, b in combinations(range(count), 2):
        # A GPU's links go to its peers in their order.
        first_a, first_b = (b - 1) * each, a * each
        found += [(a, first_a + n, b, first_b + n) for n in range(each)]
    return tuple(found)


def run(setting: Setting) -> Report:
    """Boot every kernel of the setting, one after the other."""
    checks: list[Check] = []
    facts: dict[str, object] = {}
    for kernel in setting.kernels:
        folder = setting.folder / f"hold-{kernel}"
        with Gpus(count=4, links=all_to_all(4), folder=folder / "gpus", attack=_INTERVAL, memory=64 << 20) as gpus:
            result = run_on(kernel, gpus, folder / "boot", resets=_RESETS)
            record = gpus.record()
        setting.say(f"hold on {kernel}: {result.seconds:.1f} s")
        checks += checks_of(kernel, result, record)
        facts[kernel] = {"seconds": round(result.seconds, 2), **_facts(result)}
    return Report(tuple(checks), facts)


def run_on(kernel: str, gpus: Gpus, folder: Path | None = None, *, resets: int, whole: bool = True) -> Result:
    """One boot with GPUs, each below a root port of its own."""
    # x-speed: at more, the kernel waits after a reset for a link state that QEMU never shows.
    port = "pcie-root-port,bus=pcie.0,x-speed=5,id=rp{0},chassis={1},slot={1}"
    count = len(gpus.secrets)
    devices = [("-device", port.format(i, i + 1), "-device", gpus.qemu(i, bus=f"rp{i}")) for i in range(count)]
    qemu = ("-device", "intel-iommu,intremap=on,caching-mode=on", *(word for device in devices for word in device))
    told = {
        "secrets": [secret.decode() for secret in gpus.secrets],
        "links": gpus.links,
        "resets": resets,
        "whole": whole,
    }
    files = {
        **guest_scripts("hold", "child", "hold_owner", "hold_run"),
        "scenario/setting.json": json.dumps(told).encode(),
        **guest_files(),
    }
    line = "intel_iommu=on no_timer_check"
    return boot(Boot(kernel, qemu, files, cmdline=line, memory=1024, name="hold"), folder=folder)


def _facts(result: Result) -> dict[str, object]:
    facts = result.answer.get("facts")
    return dict(facts) if isinstance(facts, dict) else {}


def checks_of(kernel: str, result: Result, record: Record) -> Iterator[Check]:
    """What the guest found, and what the GPUs saw."""
    yield from noted(kernel, result)
    api = _facts(result).get("api")
    wanted = ["iommufd" if kernel == "iommufd" else "legacy"]
    yield Check(kernel, f"it is held over {wanted[0]}", ok=api == wanted, detail=str(api))
    yield from _witnessed(kernel, record)


def _witnessed(kernel: str, record: Record) -> Iterator[Check]:
    """While both owners ran under the holder, no link across was open, by the GPUs' own logs."""
    says = "by the GPUs' logs no link across was open while both owners ran under the holder"
    owners = [(_number(event, "t"), _number(event, "gpu"), _number(event, "token")) for event in record.named("owner")]
    running = {gpu: at for at, gpu, token in reversed(owners) if 0 < token < _ALONE}
    start = max(running.values(), default=0)
    end = next((at for at, _, token in owners if at > start and not 0 < token < _ALONE), 0)
    resets = [at for at in (_number(event, "t") for event in record.named("reset")) if start < at < end]
    breaches = record.breaches(start, end)
    detail = f"from {start} to {end}, {len(resets)} resets: {breaches}"
    yield Check(kernel, says, ok=bool(resets) and not breaches, detail=detail)


def _number(event: Mapping[str, object], name: str) -> int:
    value = event[name]
    assert isinstance(value, int)
    return value
