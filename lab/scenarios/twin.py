"""A twin beside the kernel: the same machine, the same operations, and after each what is visible must be the same.

What is left out, as QEMU and the twin differ there by their nature: vendor-specific contents of files, numbers of
groups (the guest's chipset has some), operations that the kernel answers by waiting (removing or unbinding what is
open), resets of bridges themselves, which lose everything below them, and removing a function below a PCI bridge out of
a group that others stay in: Linux 6.1 with Intel's IOMMU then corrupts its list of what a domain translates for
(``list_del corruption`` in ``device_block_translation``, once the group is opened or closed through VFIO).
"""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from atoll.act.machine import Lease
from atoll.pci.address import Address
from atoll.pci.header import Command, PortType
from atoll.twin.spec import Blueprint, DomainKind, FunctionSpec
from atoll.twin.twin import Twin
from lab.boot import Boot, Result, boot
from lab.errors import LabError
from lab.kernels import kernel as fetched
from lab.machine.machine import build
from lab.machine.random import random_blueprint
from lab.report import Check, Report, Setting
from lab.scenarios import AT_ONCE, guest_scripts
from lab.scenarios.operations import Operation, perform, visible

__all__ = ["draw", "run"]

_OPERATIONS = 40
_LARGEST = 24
"""Functions of a machine at most: all of them are looked at after every operation."""
_BOOTED_FROM = (0x010802, 0x0C0330)
_SHARED = Path(__file__).with_name("operations.py")


@dataclass(slots=True)
class _Drawing:
    """Draws operations for a twin that carries them out at once, so that each fits the state it meets."""

    dice: random.Random
    twin: Twin
    functions: tuple[FunctionSpec, ...]
    operations: list[Operation] = field(default_factory=list)
    expected: list[dict[str, object]] = field(default_factory=list)
    leases: dict[str, Lease] = field(default_factory=dict)

    def note(self, result: str) -> None:
        self.expected.append(
            {"result": result, "visible": visible(self.twin, [str(spec.address) for spec in self.functions])}
        )

    def step(self) -> None:
        """Draw one operation, or a few that belong together."""
        spec = self._function()
        driver = self._bound(spec)
        operations = [self.pick(spec)]
        if not spec.is_bridge and driver != "vfio-pci" and self.dice.random() < 0.3:
            operations = [("write", _file(spec, "driver_override"), "vfio-pci")]
            operations += [("write", f"sys/bus/pci/drivers/{driver}/unbind", str(spec.address))] if driver else []
            operations += [self._probe(spec)]
        for operation in operations:
            self.operations.append(operation)
            self.note(perform(self.twin, self.leases, operation))

    def _function(self) -> FunctionSpec:
        """Few devices, so that operations meet what earlier ones left."""
        endpoints = [spec for spec in self.functions if not spec.is_bridge]
        return self.dice.choice(endpoints[:4] if self.dice.random() < 0.8 else self.functions)

    def _bound(self, spec: FunctionSpec) -> str | None:
        device = self.twin.kernel.devices.get(spec.address)
        return device.driver if device is not None else None

    def pick(self, spec: FunctionSpec) -> Operation:
        """Draw one operation on a function."""
        choices = [self._override, self._probe, self._bind, self._unbind, self._rescan, self._group, self._acs]
        choices += [self._remove, self._rescan, self._enable, self._lease, self._lease, self._lease]
        if not spec.is_bridge:
            choices += [self._reset, self._methods]
        return self.dice.choice(choices)(spec)

    def _override(self, spec: FunctionSpec) -> Operation:
        return "write", _file(spec, "driver_override"), self.dice.choice(("vfio-pci", "vfio-pci", "nosuch", "\n"))

    def _probe(self, spec: FunctionSpec) -> Operation:
        return "write", "sys/bus/pci/drivers_probe", str(spec.address)

    def _driver(self) -> str:
        return self.dice.choice(("vfio-pci", "vfio-pci", "nvme"))

    def _bind(self, spec: FunctionSpec) -> Operation:
        return "write", f"sys/bus/pci/drivers/{self._driver()}/bind", str(spec.address)

    def _unbind(self, spec: FunctionSpec) -> Operation:
        if self._open_below(spec):
            return self._probe(spec)
        bound = self._bound(spec) if self.dice.random() < 0.8 else self._driver()
        return "write", f"sys/bus/pci/drivers/{bound or self._driver()}/unbind", str(spec.address)

    def _remove(self, spec: FunctionSpec) -> Operation:
        if self._open_below(spec) or self._leaves_mates(spec):
            return self._rescan(spec)
        return "write", _file(spec, "remove"), "1"

    def _rescan(self, spec: FunctionSpec) -> Operation:
        if self.dice.random() < 0.5:
            return "write", "sys/bus/pci/rescan", "1"
        return "write", _file(spec, "rescan"), "1"

    def _acs(self, spec: FunctionSpec) -> Operation:
        ports = [port for port in self.functions if port.acs and port.address in self.twin.kernel.devices]
        if not ports:
            return self._rescan(spec)
        return "acs", str(self.dice.choice(ports).address), f"{self.dice.choice((0, 0x1D, self.dice.randrange(128))):x}"

    def _reset(self, spec: FunctionSpec) -> Operation:
        return "write", _file(spec, "reset"), self.dice.choice(("1", "1", "0", "yes"))

    def _methods(self, spec: FunctionSpec) -> Operation:
        return "write", _file(spec, "reset_method"), self.dice.choice(("flr", "bus", "pm", "default", "\n", "nosuch"))

    def _enable(self, spec: FunctionSpec) -> Operation:
        return "write", _file(spec, "enable"), self.dice.choice("10")

    def _group(self, spec: FunctionSpec) -> Operation:
        word = self.dice.choice(("identity", "DMA", "auto", "nosuch"))
        return "write", _file(spec, "iommu_group/type"), word

    def _lease(self, spec: FunctionSpec) -> Operation:
        name = str(spec.address)
        if name in self.leases:
            return ("close", name, "") if self.dice.random() < 0.5 else ("vfio-reset", name, "")
        if self._bound(spec) != "vfio-pci":
            return self._override(spec)
        return "open", name, ""

    def _open_below(self, spec: FunctionSpec) -> bool:
        hardware = self.twin.kernel.hardware
        below = {function.address for function in hardware.below(hardware.functions[spec.address])}
        return any(Address.parse(name) in {*below, spec.address} for name in self.leases)

    def _leaves_mates(self, spec: FunctionSpec) -> bool:
        """Whether it, or something below it, shares a PCI bus and a group with what would stay."""
        kernel = self.twin.kernel
        top = kernel.hardware.functions[spec.address]
        gone = {function.address: function for function in (top, *kernel.hardware.below(top))}
        buses = [a for a, f in gone.items() if f.spec.port is PortType.CONVENTIONAL and a in kernel.devices]
        groups = {kernel.devices[address].group for address in buses} - {None}
        return any(device.group in groups and address not in gone for address, device in kernel.devices.items())


def _file(spec: FunctionSpec, name: str) -> str:
    return f"sys/bus/pci/devices/{spec.address}/{name}"


def draw(seed: int, kernel: str) -> tuple[Blueprint, _Drawing]:
    """Return a random machine that is small, and operations with what the twin makes of each."""
    dice = random.Random(seed)
    blueprint = random_blueprint(dice.randrange(1 << 32), kernel=kernel)
    while len(blueprint.functions) > _LARGEST:
        blueprint = random_blueprint(dice.randrange(1 << 32), kernel=kernel)
    # Below an emulator that caches, Linux does without the flush queue (``intel_iommu_init``).
    blueprint = replace(blueprint, default_domain=DomainKind.DMA)
    twin = Twin(blueprint)
    for function in twin.kernel.hardware.functions.values():
        # As SeaBIOS does (pci_bios_init_device), and for what it can boot from (nvme_setup, xhci_setup).
        boots = function.spec.class_code in _BOOTED_FROM
        function.set_command(on=Command.MEMORY | Command.MASTER if boots else Command.MEMORY)
    twin.kernel.boot()
    drawing = _Drawing(dice, twin, blueprint.functions)
    drawing.note("ok")
    while len(drawing.operations) < _OPERATIONS:
        drawing.step()
    return blueprint, drawing


def run(setting: Setting) -> Report:
    """Boot ``repeat`` random machines on every kernel, each with operations of its own."""
    tasks = [(kernel, setting.seed + number) for number in range(setting.repeat) for kernel in setting.kernels]
    checks: list[Check] = []
    facts: dict[str, object] = {"operations": 0}

    def one(task: tuple[str, int]) -> tuple[str, int, Result | LabError]:
        kernel, seed = task
        blueprint, drawing = draw(seed, kernel if kernel == "6.1" else "6.12")
        asked = {
            "functions": [str(spec.address) for spec in drawing.functions],
            "operations": drawing.operations,
            "expected": drawing.expected,
        }
        files = {
            **guest_scripts("twin"),
            "scenario/asked.json": json.dumps(asked).encode(),
            "lab/lab/scenarios/operations.py": _SHARED.read_bytes(),
        }
        machine = build(blueprint)
        name = f"twin-{kernel}-{seed}"
        try:
            _check_modular(kernel)
            run = Boot(kernel, machine.qemu, files, cmdline=machine.cmdline, name=name)
            return kernel, seed, boot(run, folder=setting.folder / name)
        except LabError as error:
            return kernel, seed, error

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for kernel, seed, result in pool.map(one, tasks):
            checks.append(_check(kernel, seed, result))
            setting.say(f"twin {seed} on {kernel}: {'the same' if checks[-1].ok else checks[-1].detail}")
            facts["operations"] = int(str(facts["operations"])) + _OPERATIONS
    return Report(tuple(checks), facts)


def _check_modular(kernel: str) -> None:
    """Raise LabError where vfio-pci cannot be loaded anew so that idle devices of its stay on, as a twin's do."""
    if fetched(kernel).modules is None:
        raise LabError(f"{kernel} has vfio-pci built in", "This scenario loads it anew: ask for another kernel.")


def _check(kernel: str, seed: int, result: Result | LabError) -> Check:
    says = f"machine {seed}: twin and kernel show the same after each of {_OPERATIONS} operations and more"
    if isinstance(result, LabError):
        return Check(kernel, says, ok=False, detail=result.message)
    found = result.answer.get("found")
    if not result.ok or not isinstance(found, list):
        return Check(kernel, says, ok=False, detail=str(result.answer.get("error", result.folder)))
    different = [f"{step['operation']}: {step['different']}" for step in found if step["different"]]
    ok = len(found) > _OPERATIONS and not different
    return Check(kernel, says, ok=ok, detail="" if ok else f"{len(different)} steps: {different[:3]}")
