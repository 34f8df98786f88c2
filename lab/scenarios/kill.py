"""Death at any point: verbs are killed by SIGKILL on a real kernel, and recovered, while the GPUs attack each other.

At two points of each, chosen by chance, for every repeat, and at others with the next seed: at all of them with some
90 repeats, or as many seeds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from lab.boot import Boot, Result, boot
from lab.gpu.gpus import Gpus, guest_files
from lab.gpu.record import Record
from lab.noted import ended
from lab.patience import BOOT
from lab.report import Check, Report, Setting
from lab.scenarios import guest_scripts

__all__ = ["checks_of", "run"]

_INTERVAL = 0.005
"""Seconds between two attacks."""
_LINKS = tuple((0, number, 1, number) for number in range(6))
_HANDOVERS = ("kernel", "held", "vfio")
_SHARES = (0.6, 0.95)
"""How far something had come, of 1, when it died that recovering is killed after."""
_MOST = 2
_GUEST = ("killing", "killed_host", "killed_verbs", "tenant")
_SECONDS_A_REPEAT = 900
_END = 1 << 63


def run(setting: Setting) -> Report:
    """Boot every kernel of the setting, one after the other."""
    checks: list[Check] = []
    facts: dict[str, object] = {}
    for kernel in setting.kernels:
        folder = setting.folder / f"kill-{kernel}"
        with Gpus(count=2, links=_LINKS, folder=folder / "gpus", attack=_INTERVAL) as gpus:
            result = _boot(kernel, gpus, setting)
            if result.cut_off:
                setting.say(f"kill on {kernel}: {result.cut_off}")
            record = gpus.record()
        setting.say(f"kill on {kernel}: {result.seconds:.1f} s")
        checks += checks_of(kernel, result, record)
        facts[kernel] = {
            "release": result.answer.get("release"),
            "seconds": round(result.seconds, 2),
            "cut off": result.cut_off,
            "cut again beside a tenant": result.answer.get("cut again beside a tenant"),
            "counts": result.answer.get("counts"),
            "resets": len(record.named("reset")),
            "attacks that read": sum(attempt.reads for attempt in record.attempts),
        }
    return Report(tuple(checks), facts)


def _boot(kernel: str, gpus: Gpus, setting: Setting) -> Result:
    port = "pcie-root-port,bus=pcie.0,x-speed=5,id=rp{0},chassis={1},slot={1}"
    devices = [("-device", port.format(i, i + 1), "-device", gpus.qemu(i, bus=f"rp{i}")) for i in range(2)]
    qemu = ("-device", "intel-iommu,intremap=on,caching-mode=on", *(word for device in devices for word in device))
    order = {
        "handovers": _HANDOVERS,
        "shares": _SHARES,
        "seed": setting.seed,
        "most": _MOST * setting.repeat,
    }
    files = {
        **guest_scripts("kill", *_GUEST),
        "scenario/order.json": json.dumps(order).encode(),
        **guest_files(),
    }
    seconds = BOOT + _SECONDS_A_REPEAT * setting.repeat
    run = Boot(kernel, qemu, files, seconds=setting.seconds or seconds, name="kill")

    def so_far(answer: Mapping[str, object]) -> None:
        told = {"release": answer.get("release"), "counts": answer.get("counts")}
        setting.so_far(kernel, Report(tuple(_deaths(kernel, answer)), {kernel: told}))

    return boot(run, folder=setting.folder / f"kill-{kernel}" / "boot", so_far=so_far)


def checks_of(kernel: str, result: Result, record: Record) -> list[Check]:
    """Return what must be so, by what the guest found and what the GPUs saw."""
    told = bool(result.answer.get("planned"))
    checks = [*ended(kernel, result, told=told), *_deaths(kernel, result.answer)]
    breaches = record.breaches(0, _END)
    says = "no link was open between two tenants that both ran, at any time"
    checks.append(Check(kernel, says, ok=not breaches, detail=f"open: {breaches}"))
    # Without these, nothing would have been seen had there been a breach.
    seen = any(attempt.reads for attempt in record.attempts) and any(not attempt.reads for attempt in record.attempts)
    owners = {event["token"] for event in record.named("owner")} - {0}
    checks.append(
        Check(
            kernel, "attacks read across open links and not across cut ones", ok=seen, detail=str(record.attempts[:4])
        )
    )
    checks.append(Check(kernel, "tenants ran", ok=len(owners) > 1, detail=f"tokens {owners}"))
    return checks


def _deaths(kernel: str, answer: Mapping[str, object]) -> Iterator[Check]:
    """Of all that was to die, at which points it did and was recovered from: the last word, or what is known so far."""
    planned, counts, failures = (answer.get(word) for word in ("planned", "counts", "failures"))
    assert planned is None or isinstance(planned, list)
    assert counts is None or isinstance(counts, dict)
    assert failures is None or isinstance(failures, list)
    for name in planned or ():
        count = (counts or {}).get(name)
        if count is None:
            yield Check(kernel, f"{name}: killed, and safe after it", ok=False, detail="not judged: it was not begun")
            continue
        survived, chosen, points = (count[word] for word in ("survived", "chosen", "points"))
        broken = [one for one in failures or () if one["verb"] == name]
        details = [f"{one['point']}: {one['what']}" for one in broken]
        missing = [point for point in chosen if point not in survived and point not in [one["point"] for one in broken]]
        if missing or not chosen:
            details += [f"judged: {', '.join(survived) or 'no point'}", f"not judged: {', '.join(missing) or 'any'}"]
        says = f"{name}: killed at {len(chosen)} of {points} points, and safe after each"
        yield Check(kernel, says, ok=survived == chosen != [], detail="; ".join(details))
