"""Inside the guest: the kernel's groups and those that atoll predicts, at boot, with virtual functions, and when
functions are found again after ports' ACS was changed, and when some are plugged. What is drawn here follows from the
seed alone."""

import json
import os
import random
from pathlib import Path

from plug import Monitor
from verbs import DEVICES, groups, printed

import labguest
from atoll.act.live import LiveMachine
from atoll.controls.acs import policy
from atoll.host import read_host
from atoll.host.fact import value_of
from atoll.host.model import Function, Host
from atoll.isolation.groups import Prediction, predict
from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.address import Address

CAPTURE = Path("/tmp/host.tar.xz")
LEFT = 24
"""Functions that are moved about in one round at most: each takes the kernel its time under emulation."""

asked = json.loads(Path("/scenario/asked.json").read_text())
dice = random.Random(asked["seed"])
moments: list[dict[str, object]] = []


def listed(found: tuple[tuple[Address, ...], ...]) -> list[list[str]]:
    """Return predicted groups in the form of ``groups``."""
    return sorted(sorted(map(str, members)) for members in found)


def compare(what: str, predicted: Prediction) -> None:
    """Note a prediction beside what the kernel formed."""
    open_ones = [str(address) for address, _ in predicted.undetermined]
    moments.append({"what": what, "predicted": listed(predicted.groups), "groups": groups(), "undetermined": open_ones})


def virtual_functions() -> list[Path]:
    """Switch some on; where no driver of the device's own is there, the stub that is for this."""
    done = []
    for file in sorted(DEVICES.glob("*/sriov_totalvfs")):
        device = file.parent
        total = int(file.read_text())
        if any((DEVICES / place).exists() for place in places(device, total)):
            continue  # other devices of a root bus are there
        if not (device / "driver").exists():
            (device / "driver_override").write_text("pci-pf-stub\n")
            Path("/sys/bus/pci/drivers_probe").write_text(device.name)
        try:
            (device / "sriov_numvfs").write_text(str(dice.randint(1, min(4, total))))
        except OSError:
            continue  # firmware left no room for their BARs
        done.append(device)
    return done


def places(device: Path, total: int) -> list[str]:
    """Where the virtual functions of a device stand."""
    offset, stride = (int((device / name).read_text()) for name in ("sriov_offset", "sriov_stride"))
    own = Address.parse(device.name)
    numbers = [own.requester_id + offset + stride * number for number in range(total)]
    return [str(Address(own.domain, number >> 8, number >> 3 & 0x1F, number & 7)) for number in numbers]


def below(host: Host, top: Address) -> list[Address]:
    """Return a function and all below it."""
    children = [address for address, function in host.functions.items() if function.parent == top]
    return [top, *(address for child in children for address in below(host, child))]


def change_acs(host: Host) -> dict[Address, AcsFlag]:
    """Write control words to some ports: nothing, what the kernel sets, or any bits that they implement."""
    done = {}
    for address in sorted(host.functions):
        acs = value_of(host.functions[address].acs, None)
        if acs is None or not host.functions[address].is_port or dice.random() < 0.3:
            continue
        word = dice.choice((AcsFlag(0), REDIRECTING, AcsFlag(dice.randrange(128)))) & acs.capability
        with open(DEVICES / str(address) / "config", "r+b", buffering=0) as file:
            file.seek(acs.control_offset)
            file.write(int(word).to_bytes(2, "little"))
        done[address] = word
    return done


def tops(host: Host) -> list[Address]:
    """What is removed: everything below ports, or a few functions anywhere."""
    declared = {Address.parse(text) for text in asked["functions"]} & set(host.functions)
    inner = sorted(address for address in declared if address.bus not in asked["roots"])
    if dice.random() < 0.5 and len(inner) <= LEFT:
        return [address for address in inner if parent_is_root(host.functions[address])]
    picked = dice.sample(inner, min(len(inner), dice.randint(1, 4)))
    if not asked["acs_options"] and dice.random() < 0.4:
        picked += dice.sample(sorted(declared - set(inner)), 1)
    return picked


def parent_is_root(function: Function) -> bool:
    """Whether a function hangs below a port on a root bus."""
    return function.parent is not None and function.parent.bus in asked["roots"]


def found_again(machine: LiveMachine) -> None:
    """Change ACS, remove, look for everything again."""
    host = read_host(machine)
    words = change_acs(host)
    removed = tops(host)
    anew = frozenset(address for top in removed for address in below(host, top))
    # A port that is found again gets the kernel's bits added to those that it has.
    again = {}
    for address in anew:
        acs, kernel = value_of(host.functions[address].acs, None), policy(host, host.functions[address])
        if acs is not None and kernel is not None:
            again[address] = words.get(address, acs.control) | kernel
    predicted = predict(host, acs_control={**words, **again}, anew=anew)
    for address in removed:
        file = DEVICES / str(address) / "remove"
        if file.exists():
            file.write_text("1")
    Path("/sys/bus/pci/rescan").write_text("1")
    said = " ".join(f"{address}={word:#04x}" for address, word in words.items()) or "as it was"
    compare(f"ACS {said}; found again: {' '.join(map(str, removed))}", predicted)


def plugged(machine: LiveMachine) -> None:
    """Plug something behind ports that have nothing behind them."""
    monitor = Monitor()
    for name, place in asked["empty"]:
        monitor.plug(f"plugged-{name}", place, "nvme", bus=name, serial=name)
        compare(f"plugged: {place}", predict(read_host(machine), anew=frozenset((Address.parse(place),))))


at_boot = groups()
document = json.loads(printed("groups", "--json"))
printed("capture", str(CAPTURE))
labguest.give("host.tar.xz", CAPTURE.read_bytes())
machine = LiveMachine()
switched = virtual_functions()
if switched:
    compare(f"virtual functions of {' '.join(path.name for path in switched)}", predict(read_host(machine)))
    for device in switched:
        (device / "sriov_numvfs").write_text("0")
for _ in range(asked["rounds"]):
    found_again(machine)
if asked["empty"]:
    plugged(machine)
labguest.answer(
    {
        "release": os.uname().release,
        "devices": sorted(os.listdir(DEVICES)),
        "groups": at_boot,
        "recorded": document["recorded"],
        "predicted": document["predicted"],
        "document": document,
        "moments": moments,
    }
)
