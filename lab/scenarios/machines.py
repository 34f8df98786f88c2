"""Random machines, each as a twin and as a guest: the kernel's groups, the twin's, and those that atoll predicts."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from atoll.pci.address import Address
from atoll.twin.spec import Blueprint
from atoll.twin.twin import Twin
from lab.boot import Boot, Result, boot
from lab.errors import LabError
from lab.kernels import DEBIAN_KERNELS
from lab.machine.cmdline import random_cmdline, random_options, virtio_works
from lab.machine.machine import Iommu, Machine, build, identity
from lab.machine.random import random_blueprint
from lab.machine.served import Served
from lab.report import Check, Report, Setting
from lab.scenarios import AT_ONCE, guest_scripts
from lab.scenarios.smoke import groups_outside

__all__ = ["Draw", "check", "empty_ports", "run", "run_on"]

_IOMMUS = (Iommu.INTEL, Iommu.AMD)
_VIRTIO = ("6.12", "7")
"""Kernels on which some machines have the virtio IOMMU."""
_PLUGGED = 2
"""How many functions are plugged at most while the kernel runs."""
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
    options: Mapping[str, object] = field(default_factory=dict)
    """What QEMU is told of the IOMMU beyond what is usual."""
    rounds: int = _ROUNDS

    @property
    def name(self) -> str:
        """What to call it in checks: enough to draw it again."""
        told = " ".join([*(f"{name}={value}" for name, value in self.options.items()), *self.cmdline.split()])
        return f"machine {self.seed} with {self.iommu}{f' ({told})' if told else ''}"


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

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for draw, found, result in pool.map(one, draws):
            checks += found
            seconds.append(result.seconds if result else 0.0)
            counts[f"{draw.kernel} {draw.iommu}: machines"] += 1
            counts[f"{draw.kernel} {draw.iommu}: comparisons"] += _comparisons(result)
            counts[f"{draw.kernel} {draw.iommu}: groups compared"] += _compared(result)
            counts[f"{draw.kernel} {draw.iommu}: functions undetermined"] += _undetermined(result)
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
    blueprint = random_blueprint(seed, wide=True, amd=iommu is Iommu.AMD)
    if seed % 4 == 2 and kernel in _VIRTIO and virtio_works(blueprint):
        iommu = Iommu.VIRTIO
    served = bool(build(blueprint, serve=True).served)
    options = random_options(random.Random(f"{seed}: options"), iommu, served=served)
    machine = build(blueprint, iommu=iommu, options=options, serve=True)
    # The virtio IOMMU's driver is a module: what the command line says of other IOMMUs does not matter.
    cmdline = "" if iommu is Iommu.VIRTIO else random_cmdline(random.Random(seed), blueprint, kernel, iommu)
    full = iommu is Iommu.AMD and kernel in DEBIAN_KERNELS
    return Draw(f"{kernel}-full" if full else kernel, seed, blueprint, machine, iommu, cmdline, options)


def run_on(draw: Draw, folder: Path | None = None) -> Result:
    """One boot of a machine."""
    asked = {
        "seed": draw.seed,
        "rounds": draw.rounds,
        "functions": [str(address) for address in draw.machine.addresses.values()],
        "roots": sorted({0, *(bridge.bus for bridge in draw.blueprint.bridges)}),
        "acs_options": "acs" in draw.cmdline,
        "empty": empty_ports(draw)[:_PLUGGED],
    }
    files = {**guest_scripts("machines", "plug", "verbs"), "scenario/asked.json": json.dumps(asked).encode()}
    cmdline = f"{draw.machine.cmdline} {draw.cmdline}"
    with Served(draw.machine.served) as served:
        qemu = served.arguments(draw.machine.qemu)
        run = Boot(draw.kernel, qemu, files, cmdline=cmdline, monitor=True, name="machine")
        return boot(run, folder=folder)


def empty_ports(draw: Draw) -> list[tuple[str, str]]:
    """Return QEMU's names of root ports that nothing is behind, and where a function behind them will stand.

    None where firmware keeps hot-plug to itself: without all of configuration space the kernel does not ask for it
    (``negotiate_os_control``).
    """
    if "nommconf" in draw.cmdline:
        return []
    found = []
    taken = {spec.address.bus for spec in draw.blueprint.functions}
    for spec in draw.blueprint.functions:
        guest = draw.machine.addresses.get(spec.address)
        hot = draw.machine.drivers.get(spec.address) == "pcie-root-port"
        if hot and guest == spec.address and spec.secondary not in taken:
            found.append((identity(spec), str(Address(0, spec.secondary, 0, 0))))
    return found


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
    if not off and _twin_is_alike(draw):
        yield _equal(kernel, f"{name}: the twin has the kernel's groups", _twin_groups(draw), _only(actual, wanted))
    yield _equal(kernel, f"{name}: atoll reads the kernel's groups", _groups(result.answer["recorded"]), actual, off)
    yield _equal(
        kernel, f"{name}: atoll predicts the kernel's groups", _groups(result.answer["predicted"]), actual, off
    )
    moments = result.answer["moments"]
    assert isinstance(moments, list)
    for moment in moments:
        says = f"{name}: atoll predicts the kernel's groups after {moment['what']}"
        told = set(_names(moment["undetermined"]))
        predicted, found = _without(_groups(moment["predicted"]), told), _without(_groups(moment["groups"]), told)
        yield _equal(kernel, f"{says}, but for {len(told)} undetermined" if told else says, predicted, found, off)
    capture = result.folder / "host.tar.xz"
    capture.write_bytes(result.files["host.tar.xz"])
    document, outside = result.answer["document"], groups_outside(capture)
    assert isinstance(document, dict)
    same = {**outside, "host": ""} == {**document, "host": ""}
    yield Check(kernel, f"{name}: its capture gives the same document outside", ok=same, detail=f"see {capture}")


def _moments(result: Result | None) -> list[dict[str, object]]:
    moments = result.answer.get("moments") if result is not None else None
    return moments if isinstance(moments, list) else []


def _compared(result: Result | None) -> int:
    """How many groups of the kernel were compared, at boot and after."""
    told = [moment["groups"] for moment in _moments(result)] + [result.answer.get("groups", []) if result else []]
    return sum(len(groups) for groups in told if isinstance(groups, list))


def _undetermined(result: Result | None) -> int:
    return sum(len(set(_names(moment["undetermined"]))) for moment in _moments(result))


def _comparisons(result: Result | None) -> int:
    return 1 + len(_moments(result)) if result is not None else 0


def _twin_is_alike(draw: Draw) -> bool:
    """Whether the twin is told all that counts: not what the command line says, nor of the emulator's own functions.

    These stand on the first root bus, its host bridge before all others: who uses its requester id joins its group.
    """
    roots = {bridge.bus for bridge in draw.blueprint.bridges}
    host_bridge = any(0 in spec.dma_aliases for spec in draw.blueprint.functions if spec.address.bus in roots)
    told = "acs" in draw.cmdline or "nommconf" in draw.cmdline
    return not told and not host_bridge and draw.iommu is not Iommu.VIRTIO


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


def _without(groups: Groups, names: set[str]) -> Groups:
    """Leave out what a prediction says that it does not determine."""
    return frozenset(group - names for group in groups if group - names)


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
