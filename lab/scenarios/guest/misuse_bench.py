"""Inside the guest: what misuse is made of: looking at the machine, running verbs, exchanging devices."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from plug import Monitor
from verbs import DEVICES, atoll, driver

from atoll.act.entries import Write
from atoll.act.journal import Journal
from atoll.act.recorded import Recorded
from labguest import check, until

RED, BLUE = "0000:01:00.0", "0000:02:00.0"
SYSFS = "sys/bus/pci/"
BUS = {RED: "rp0", BLUE: "rp1"}

monitor = Monitor()
plugged = {RED: "red0", BLUE: "blue0"}
found = {RED: ("e1000e", {"romfile": ""}), BLUE: ("nvme", {"serial": "blue"})}
"""What stands in each place when the work begins."""
_plugs = iter(range(1, 1000))


# -- looking


def state() -> dict[str, object]:
    """What atoll may change, by its users' eyes."""
    seen: dict[str, object] = {}
    for folder in sorted(DEVICES.iterdir()):
        control = (folder / "power/control").read_text().strip()
        words = (folder / "config").read_bytes()[4:6].hex(), (folder / "driver_override").read_text().strip(), control
        group = sorted(os.listdir(folder / "iommu_group/devices"))
        seen[folder.name] = (driver(folder.name), *words, group)
    seen["autoprobe"] = Path("/sys/bus/pci/drivers_autoprobe").read_text()
    return seen


def given(seen: dict[str, object]) -> dict[str, object]:
    """The same without command registers: a driver that comes back writes its own."""
    return {name: (one[0], *one[2:]) if isinstance(one, tuple) else one for name, one in seen.items()}


def told(ran: subprocess.CompletedProcess[str]) -> str:
    """Return all that a run brought."""
    return f"exit {ran.returncode}: {ran.stdout} {ran.stderr}"


def one_line(ran: subprocess.CompletedProcess[str]) -> bool:
    """Whether an error was told in one line, and a hint in another."""
    lines = ran.stderr.splitlines()
    return len(lines) == 2 and lines[0].startswith("atoll: ") and lines[1].startswith("  ") and lines[1].strip() != ""


def refused(says: str, code: int, words: str, *arguments: str, user: int | None = None) -> None:
    """Check that a call is refused with one line and a hint, and changes nothing."""
    before = state()
    ran = atoll(*arguments, user=user)
    good = ran.returncode == code and words in ran.stderr and one_line(ran)
    check(f"{says}, {arguments[0]}: one line, a hint, exit code {code}", good, told(ran))
    check(f"{says}, {arguments[0]}: nothing is changed", state() == before, (before, state()))


# -- bringing about


def write(path: str, text: str) -> None:
    """Write a file, or an attribute of sysfs."""
    Path(path).write_text(text)


def succeeds(says: str, *arguments: str) -> None:
    """Check that a run ends well."""
    ran = atoll(*arguments)
    check(says, ran.returncode == 0, told(ran))


@contextmanager
def applied() -> Iterator[None]:
    """Apply, and release: between the two, tenants have their devices."""
    before = given(state())
    succeeds("(apply)", "apply", "/vfio.toml")
    yield
    succeeds("(release)", "release", "/vfio.toml")
    check("(all is as before)", given(state()) == before, (before, state()))


@contextmanager
def intercepted(hook: Callable[[str, bytes], None]) -> Iterator[None]:
    """Call a hook before each write to sysfs that atoll makes, and before what it checks right before that."""
    original = Recorded.write

    def hooked(self: Recorded, path: str, data: bytes, *, offset: int = 0) -> None:
        if path.startswith(SYSFS):
            hook(path, data)
        original(self, path, data, offset=offset)

    Recorded.write = hooked  # type: ignore[method-assign]
    try:
        yield
    finally:
        Recorded.write = original  # type: ignore[method-assign]


@contextmanager
def announced(hook: Callable[[str, bytes], None]) -> Iterator[None]:
    """Call a hook once each write to sysfs is in the journal, as if the disk had been slow."""
    original = Journal.announce

    def hooked(self: Journal, write: Write) -> int:
        number = original(self, write)
        if write.target.startswith(SYSFS):
            hook(write.target, write.value)
        return number

    Journal.announce = hooked  # type: ignore[method-assign]
    try:
        yield
    finally:
        Journal.announce = original  # type: ignore[method-assign]


def dies(*arguments: str, at: str, after: int = 0) -> None:
    """A run that is killed right before it writes to a file whose path ends so, after so many such writes."""
    child = os.fork()
    if not child:
        passed = iter(range(after))

        def kill(path: str, data: bytes) -> None:
            if path.endswith(at) and next(passed, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        with intercepted(kill):
            atoll(*arguments)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    check(f"({arguments[0]} is killed)", os.WIFSIGNALED(status), status)


def exchange(address: str, name: str, properties: dict[str, str]) -> None:
    """Put another device in place of one."""
    monitor.pull(plugged[address], address)
    plug(address, name, properties)


def plug(address: str, name: str, properties: dict[str, str]) -> None:
    """Plug a device in."""
    plugged[address] = f"plugged{next(_plugs)}"
    monitor.plug(plugged[address], address, name, bus=BUS[address], **properties)
    if driver(address) == "nvme":
        # Its driver takes it in while others go on, and changes its command register until it has.
        until(lambda: any(place.read_text() == "live\n" for place in (DEVICES / address).glob("nvme/nvme*/state")))


def as_found(address: str) -> None:
    """The device that stood there at the beginning, fresh from the kernel's hands."""
    if (DEVICES / address).exists():
        monitor.pull(plugged[address], address)
    plug(address, *found[address])


OTHER = {RED: ("nvme", {"serial": "other"}), BLUE: ("e1000e", {"romfile": ""})}
"""What a device is exchanged for: for red's, one that the kernel has a driver for."""
