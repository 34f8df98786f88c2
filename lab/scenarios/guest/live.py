"""Inside the guest: the running machine is changed, by every way the executor has, and given back."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from verbs import DEVICES, atoll, driver, groups

import labguest
from atoll.act.executor import execute
from atoll.act.live import LiveMachine
from atoll.act.lock import machine_lock
from atoll.act.release import release
from atoll.act.steps.access import access
from atoll.act.steps.resets import reset
from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.isolation.proof import prove
from atoll.isolation.reach import Reach
from atoll.pci.address import Address
from atoll.plan.fingerprint import fingerprint
from atoll.plan.needs import Needs
from atoll.plan.regrouping import group_for
from atoll.plan.sequence import Sequence
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan, StepKind
from labguest import check, checks, until

RED, BLUE = "0000:01:00.0", "0000:02:00.0"
ROOT_PORT, UPSTREAM = "0000:00:05.0", "0000:03:00.0"
SWITCHED = ("0000:05:00.0", "0000:06:00.0")
STATUS, RING = 0x0008, 0x2800
"""Registers of an 82574: its status; where its receive descriptors are (RDBAL), which a reset clears."""
NOBODY = 65534


def overrides() -> dict[str, str]:
    """Return the driver_override of each function."""
    return {path.name: (path / "driver_override").read_text().strip() for path in DEVICES.iterdir()}


def all_drivers() -> dict[str, str | None]:
    """Return the driver of each function."""
    return {path.name: driver(path.name) for path in DEVICES.iterdir()}


def state() -> dict[str, object]:
    """What atoll may change, by its users' eyes."""
    words = {path.name: (path / "config").read_bytes()[4:6].hex() for path in DEVICES.iterdir()}
    return {
        "drivers": all_drivers(),
        "overrides": overrides(),
        "groups": groups(),
        "command": words,
    }


def write(path: str, text: str) -> None:
    """Write a file, or an attribute of sysfs."""
    Path(path).write_text(text)


def spec(handover: str, red: tuple[str, ...] = (RED,), blue: tuple[str, ...] = (BLUE,)) -> str:
    """Return a cluster file for two tenants."""
    tables = []
    for name, devices in (("red", red), ("blue", blue)):
        listed = ", ".join(f'"{device}"' for device in devices)
        tables.append(f'[cluster.{name}]\ndevices = [{listed}]\nhandover = "{handover}"\n')
    return "".join(tables)


def refused(says: str, code: int, words: str, *arguments: str, user: int | None = None) -> None:
    """Check that a call is refused with one line and a hint, and changes nothing."""
    before = state()
    ran = atoll(*arguments, user=user)
    lines = ran.stderr.splitlines()
    good = ran.returncode == code and words in ran.stderr and len(lines) == 2 and lines[1].startswith("  ")
    check(f"{says}: one line, a hint, exit code {code}", good, (ran.returncode, ran.stdout, ran.stderr))
    check(f"{says}: nothing is changed", state() == before, (before, state()))


def applied_and_released() -> None:
    before = state()
    ran = atoll("apply", "/vfio.toml", "--dry-run")
    check("a dry run ends well", ran.returncode == 0, ran.stderr)
    check("a dry run changes nothing and keeps no journal", state() == before and not Path("/var/lib/atoll").exists())
    ran = atoll("apply", "/vfio.toml", "--json")
    told = json.loads(ran.stdout) if ran.stdout else {}
    check("apply ends well and proves it", ran.returncode == 0 and told.get("verdict") == "proven", ran.stderr or told)
    check("both devices are vfio-pci's", (driver(RED), driver(BLUE)) == ("vfio-pci", "vfio-pci"))
    ran = atoll("release", "/vfio.toml")
    check("release ends well", ran.returncode == 0, ran.stderr)
    after = {**state(), "command": None}
    check("drivers, overrides and groups are as before", after == {**before, "command": None}, (before, after))


@contextmanager
def given_to_vfio() -> Iterator[None]:
    """Give the devices to VFIO, and back."""
    ran = atoll("apply", "/vfio.toml")
    check("apply again", ran.returncode == 0, ran.stderr)
    try:
        yield
    finally:
        ran = atoll("release", "/vfio.toml")
        check("release again", ran.returncode == 0, ran.stderr)


def registers_and_resets(machine: LiveMachine) -> None:
    address = Address.parse(RED)
    power = DEVICES / RED / "power"
    # QEMU's device keeps its registers over a change of its power state, which the kernel would try first.
    write(f"{DEVICES}/{RED}/reset_method", "bus\n")
    managed = (power / "control").read_text()
    with access(machine, address, None) as bars:
        status = bars.read32(0, STATUS)
        bars.write32(0, RING, 0x00070000)
        check("resource0: a register is written and read back", bars.read32(0, RING) == 0x00070000)
    check("runtime power management is as before", (power / "control").read_text() == managed)
    lease = machine.lease_vfio(address, holder="atoll-hold:red")
    check("both ways show one status register", lease.read32(0, STATUS) == status, hex(status))
    check("opening reset it, as declared", lease.reset_on_open and lease.read32(0, RING) == 0, lease.read32(0, RING))
    check("a second lease is the first", machine.lease_vfio(address, holder="atoll-hold:red").read32(0, 0) is not None)
    lease.write32(0, RING, 0x00070000)
    lease.reset()
    check("its reset clears the register", lease.read32(0, RING) == 0, lease.read32(0, RING))
    busy(machine)
    lease.write32(0, RING, 0x00070000)
    declared = lease.reset_on_close
    lease.close()
    with access(machine, address, None) as bars:
        check("closing reset it, as declared", declared and bars.read32(0, RING) == 0, bars.read32(0, RING))
        bars.write32(0, RING, 0x00070000)
    write(f"{DEVICES}/{RED}/reset_method", "default\n")
    methods = (DEVICES / RED / "reset_method").read_text().split()
    reset(machine, address, "bus")
    with access(machine, address, None) as bars:
        check("a reset by bus clears the register", bars.read32(0, RING) == 0, bars.read32(0, RING))
    check("the order of methods is as before", (DEVICES / RED / "reset_method").read_text().split() == methods)


def busy(machine: LiveMachine) -> None:
    """While a process, this one, has the device open."""
    Path("/proc/self/comm").write_text("somebody")
    ran = atoll("apply", "/vfio.toml")
    check("an open device is not taken", ran.returncode != 0 and "open in process" in ran.stdout + ran.stderr, ran)
    refused("release of what another has open", 4, "is open in process", "release", "/vfio.toml")
    refused("a plan over what another has open", 4, "is open in process", "apply", "/vfio.json")
    Path("/proc/self/comm").write_text("atoll-hold:red")
    refused("release of what a holder has open", 4, "is held open for red by process", "release", "/vfio.toml")
    try:
        machine.write("sys/bus/pci/drivers/vfio-pci/unbind", b"0000:ff:1f.7")
        error: OSError | None = None
    except OSError as caught:
        error = caught
    check("the kernel's error for an unbind comes back", error is not None and error.errno == 19, error)


def stuck(machine: LiveMachine) -> None:
    """An unbind under an open descriptor, behind all checks: told, not waited for; it takes place at the close."""
    address = Address.parse(BLUE)
    lease = machine.lease_vfio(address, holder="atoll-hold:blue")
    try:
        LiveMachine(seconds=1.0).write("sys/bus/pci/drivers/vfio-pci/unbind", BLUE.encode())
        error: OSError | None = None
    except OSError as caught:
        error = caught
    check("an unbind that does not return is told", isinstance(error, TimeoutError), error)
    lease.close()
    check("a reset goes by while that is under way", until(lambda: driver(BLUE) is None), driver(BLUE))


def wrong_use() -> None:
    """Use it wrongly: each is refused with its reason."""
    refused("not root", 4, "without root", "apply", "/vfio.toml", user=NOBODY)
    refused("a holder that does not stay", 4, "a device stays open only as long as", "apply", "/held.toml")
    with machine_lock(LiveMachine()):
        refused("two at once", 4, "another atoll is changing", "apply", "/vfio.toml")
    changed = Path("/vfio.json").read_text().replace("1b36:0010 at", "1b36:0011 at")
    write("/other.json", changed)
    refused("another device at the address", 4, "is not the device that was planned for", "apply", "/other.json")
    write(f"/sys/bus/pci/devices/{BLUE}/remove", "1")
    refused("a device that vanished", 4, BLUE, "apply", "/vfio.json")
    write("/sys/bus/pci/rescan", "1")
    check("it is found again by its driver", until(lambda: driver(BLUE) == before_all[BLUE]), driver(BLUE))
    took = driver(BLUE)
    if took is not None:
        write(f"/sys/bus/pci/drivers/{took}/unbind", BLUE)
        write(f"/sys/bus/pci/devices/{BLUE}/driver_override", "vfio-pci\n")
        write("/sys/bus/pci/drivers_probe", BLUE)
        refused("another driver than planned", 4, "is bound to vfio-pci, not to", "apply", "/vfio.json")
        write("/sys/bus/pci/drivers/vfio-pci/unbind", BLUE)
        write(f"/sys/bus/pci/devices/{BLUE}/driver_override", "\n")
        write("/sys/bus/pci/drivers_probe", BLUE)
    subprocess.run(["/bin/busybox", "mount", "-o", "remount,ro", "/sys"], check=True)
    refused("a read-only sysfs", 4, "mounted read-only", "apply", "/vfio.toml")
    subprocess.run(["/bin/busybox", "mount", "-o", "remount,rw", "/sys"], check=True)


def at_the_end() -> None:
    """What cannot be taken back: no VFIO, then a kernel that is locked down."""
    if subprocess.run(["/bin/busybox", "rmmod", "vfio_pci"], check=False, capture_output=True).returncode == 0:
        refused("no VFIO", 4, "the driver vfio-pci is not loaded", "apply", "/vfio.toml")
    lockdown = Path("/sys/kernel/security/lockdown")
    if not lockdown.exists():
        subprocess.run(["/bin/busybox", "mount", "-t", "securityfs", "s", "/sys/kernel/security"], check=False)
    with suppress(OSError):
        lockdown.write_text("integrity")
    if lockdown.exists() and "[integrity]" in lockdown.read_text():
        refused("lockdown", 4, "the kernel is locked down (integrity)", "apply", "/vfio.toml")


def acs_off(port: str) -> None:
    """Clear a port's ACS control word, as a firmware might leave it."""
    config = DEVICES / port / "config"
    space = config.read_bytes()
    at = 0x100
    while at and int.from_bytes(space[at : at + 2], "little") != 0x000D:
        at = int.from_bytes(space[at + 2 : at + 4], "little") >> 4
    with open(config, "r+b", buffering=0) as file:
        file.seek(at + 6)
        file.write(b"\0\0")


def regrouped(machine: LiveMachine) -> None:
    """A sub-hierarchy in one group, below a root port that does not redirect: split, and put together again."""
    acs_off(ROOT_PORT)
    drivers = all_drivers()
    write(f"/sys/bus/pci/devices/{UPSTREAM}/remove", "1")
    write("/sys/bus/pci/rescan", "1")
    # The driver of NVMe asks to be probed apart (PROBE_PREFER_ASYNCHRONOUS): a rescan returns before it has the device.
    check("all below is found again by its drivers", until(lambda: all_drivers() == drivers), (drivers, all_drivers()))
    before = groups()
    together = next(members for members in groups() if SWITCHED[0] in members)
    check("all below an open root port is in one group", {ROOT_PORT, UPSTREAM, *SWITCHED} <= set(together), together)
    text = spec("vfio", (SWITCHED[0],), (SWITCHED[1],))
    host = read_host(machine, registers=registers)
    topology, settings = Topology(host), present(host)
    clusters = read_spec(text, host, name="spec")
    # That the switch lets both reach one another is no matter here: its ports have no ACS, and only groups are split.
    wanted = Needs({}, {}, prove(Reach(topology, settings, Policy.STRICT), clusters))
    grouping = group_for(topology, settings, clusters, {})
    check("the groups can be split", not grouping.impossible, grouping.impossible)
    steps = Sequence(topology, settings, clusters, wanted, grouping).steps()
    prints = tuple((d, fingerprint(host.functions[d])) for d in dict.fromkeys(step.device for step in steps))
    execute(machine, host, Plan(host.name, "", steps, (), (), fingerprints=prints))
    removed = [str(step.device) for step in steps if step.kind is StepKind.REMOVE]
    check("ports had to be found again", any(host.functions[Address.parse(d)].is_port for d in removed), removed)
    predicted = [sorted(map(str, s.group)) for s in steps if s.kind is StepKind.RESCAN and s.group]
    after = groups()
    check("the groups are those predicted", all(group in after for group in predicted), (predicted, after))
    check("both are vfio-pci's", {driver(device) for device in SWITCHED} == {"vfio-pci"})
    ports = {device: name for device, name in drivers.items() if device not in SWITCHED}
    check("ports and others have their drivers", {d: driver(d) for d in ports} == ports, {d: driver(d) for d in ports})
    now = read_host(machine, registers=registers)
    outcome = release(machine, now, read_spec(text, now, name="spec"))
    check("all is given back", outcome.left == (), outcome.left)
    check("the groups are those of before", groups() == before, (before, groups()))
    check("the drivers are those of before", all_drivers() == drivers, (drivers, all_drivers()))


write("/vfio.toml", spec("vfio"))
write("/held.toml", spec("held"))
before_all = all_drivers()
ran = atoll("plan", "/vfio.toml", "-o", "/vfio.json")
check("it is planned", ran.returncode == 0, ran.stderr)
applied_and_released()
wrong_use()
machine = LiveMachine(hold=True)
with given_to_vfio():
    registers_and_resets(machine)
with given_to_vfio():
    stuck(machine)
regrouped(machine)
at_the_end()
labguest.answer({"release": os.uname().release, "checks": checks})
