"""Inside the guest: each verb is used wrongly in each way, and devices are pulled and exchanged under its hands."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from misuse_bench import (
    BLUE,
    OTHER,
    RED,
    SYSFS,
    announced,
    applied,
    as_found,
    dies,
    exchange,
    given,
    intercepted,
    monitor,
    one_line,
    plug,
    plugged,
    refused,
    state,
    succeeds,
    told,
    write,
)
from verbs import atoll, driver

import labguest
from atoll.act.live import LiveMachine
from atoll.act.lock import machine_lock
from atoll.pci.address import Address
from labguest import check, checks

JOURNAL = Path("/var/lib/atoll")
NOBODY = 65534
VERBS = (("apply", "/vfio.toml"), ("hold", "/held.toml"), ("release", "/vfio.toml"), ("recover",))


# -- refusals


def not_root() -> None:
    """Run every verb as somebody else."""
    for verb in VERBS:
        refused("not root", 4, "without root", *verb, user=NOBODY)


def read_only() -> None:
    """Run every verb with sysfs mounted read-only."""
    subprocess.run(["/bin/busybox", "mount", "-o", "remount,ro", "/sys"], check=True)
    for verb in VERBS:
        refused("read-only sysfs", 4, "mounted read-only", *verb)
    subprocess.run(["/bin/busybox", "mount", "-o", "remount,rw", "/sys"], check=True)


def two_at_once() -> None:
    """Run verbs while another atoll changes the machine."""
    with machine_lock(LiveMachine()):
        refused("two at once", 4, "another atoll is changing", "apply", "/vfio.toml")
        refused("two at once", 4, "another atoll is changing", "hold", "/held.toml")
    with applied(), machine_lock(LiveMachine()):
        refused("two at once", 4, "another atoll is changing", "release", "/vfio.toml")
    dies("apply", "/vfio.toml", at="/bind")
    with machine_lock(LiveMachine()):
        refused("two at once", 4, "another atoll is changing", "recover")


def after_a_death(before: dict[str, object]) -> None:
    """Run verbs after one was killed half-way."""
    for verb in VERBS[:3]:
        refused("after a death", 4, "an earlier run died", *verb)
    succeeds("after a death, recover ends well", "recover")
    check("after a death, recover: all is as before", given(state()) == given(before), (before, state()))


def without_vfio(before: dict[str, object]) -> None:
    """Where it is a module that can be taken out."""
    taken_out = "/lab/modules/vfio-pci.ko", "/lab/modules/vfio_pci.ko"
    module = next((path for path in taken_out if os.path.exists(path)), None)
    if module is None:
        return
    subprocess.run(["/bin/busybox", "rmmod", "vfio_pci"], check=True)
    refused("no VFIO", 4, "the driver vfio-pci is not loaded", "apply", "/vfio.toml")
    refused("no VFIO", 4, "the driver vfio-pci is not loaded", "hold", "/held.toml")
    subprocess.run(["/bin/busybox", "insmod", module], check=True)
    for says, verb in (("release", ("release", "/vfio.toml")), ("recover", ("recover",))):
        if says == "release":
            succeeds("(apply)", "apply", "/vfio.toml")
        else:
            dies("apply", "/vfio.toml", at=f"{BLUE}/driver_override")
        subprocess.run(["/bin/busybox", "rmmod", "vfio_pci"], check=True)
        succeeds(f"no VFIO, {says}: gives all back without it", *verb)
        check(f"no VFIO, {says}: all is as before", given(state()) == given(before), (before, state()))
        subprocess.run(["/bin/busybox", "insmod", module], check=True)


@contextmanager
def opened(address: str) -> Iterator[None]:
    """This process has the device open, by another name than a holder's."""
    lease = LiveMachine(hold=True).lease_vfio(Address.parse(address), holder="somebody")
    try:
        yield
    finally:
        lease.close()


def busy(before: dict[str, object]) -> None:
    """Run verbs while a tenant runs."""
    with applied(), opened(BLUE):
        for verb in VERBS[:2]:
            seen = state()
            ran = atoll(*verb)
            good = ran.returncode == 1 and f"{BLUE}: open in process" in ran.stdout
            check(f"busy, {verb[0]}: told, exit code 1", good, told(ran))
            check(f"busy, {verb[0]}: nothing is changed", state() == seen, (seen, state()))
        refused("busy", 4, "is open in process", "release", "/vfio.toml")
        refused("busy, a plan", 4, "is open in process", "apply", "/vfio.json")
    # Red's has its new driver by then, and blue's not yet.
    dies("apply", "/vfio.toml", at="/bind", after=1)
    with opened(RED):
        seen = state()
        ran = atoll("recover")
        good = ran.returncode != 0 and "its owner runs" in ran.stdout
        check("busy, recover: told, not exit code 0", good, told(ran))
        check("busy, recover: nothing is changed", state() == seen, (seen, state()))
    succeeds("busy no more, recover ends well", "recover")
    check("busy no more, recover: all is as before", given(state()) == given(before), (before, state()))


def vanished(before: dict[str, object]) -> None:
    """Pulled beforehand."""
    monitor.pull(plugged[BLUE], BLUE)
    refused("vanished", 2, BLUE, "apply", "/vfio.toml")
    refused("vanished, a plan", 4, BLUE, "apply", "/vfio.json")
    refused("vanished", 2, BLUE, "hold", "/held.toml")
    as_found(BLUE)
    succeeds("(apply)", "apply", "/vfio.toml")
    monitor.pull(plugged[BLUE], BLUE)
    ran = atoll("release", "/vfio.toml")
    check("vanished, release: told", f"{BLUE} is not there" in ran.stdout, told(ran))
    check("vanished, release: the rest is given back", given(state())[RED] == given(before)[RED], told(ran))
    check("vanished, release: not exit code 0", ran.returncode != 0, told(ran))
    as_found(BLUE)
    settled("vanished, release", before)
    dies("apply", "/vfio.toml", at="/bind", after=1)
    monitor.pull(plugged[RED], RED)
    ran = atoll("recover")
    good = f"{RED} is not there any more" in ran.stdout and driver(BLUE) == "nvme"
    check("vanished, recover: told, the rest is as before", good, told(ran))
    as_found(RED)
    settled("vanished, recover", before)


def exchanged(before: dict[str, object]) -> None:
    """Exchanged beforehand: what stands there now is nobody's business."""
    exchange(RED, *OTHER[RED])
    refused("exchanged, a plan", 4, "is not the device that was planned for", "apply", "/vfio.json")
    as_found(RED)
    succeeds("(apply)", "apply", "/vfio.toml")
    exchange(RED, *OTHER[RED])
    seen = state()[RED]
    ran = atoll("release", "/vfio.toml")
    check("exchanged, release: told", RED in ran.stdout + ran.stderr and ran.returncode != 0, told(ran))
    check("exchanged, release: the other device is not touched", state()[RED] == seen, (seen, state()))
    check("exchanged, release: the rest is given back", driver(BLUE) == "nvme", told(ran))
    as_found(RED)
    settled("exchanged, release", before)
    dies("apply", "/vfio.toml", at="/bind", after=1)
    exchange(RED, *OTHER[RED])
    seen = state()[RED]
    ran = atoll("recover")
    check("exchanged, recover: told", f"{RED} is another device now" in ran.stdout, told(ran))
    check("exchanged, recover: the other device is not touched", state()[RED] == seen, (seen, state()))
    as_found(RED)
    settled("exchanged, recover", before)


def settled(says: str, before: dict[str, object]) -> None:
    """Nothing of what was done is left to be undone, and all is as it was found."""
    ran = atoll("recover")
    check(f"{says}: nothing is left to recover", ran.returncode == 0 and "Nothing to recover" in ran.stdout, told(ran))
    ran = atoll("release", "/vfio.toml")
    check(f"{says}: nothing is left to release", "nothing to release" in ran.stdout, told(ran))
    check(f"{says}: all is as before", given(state()) == given(before), (before, state()))


# -- under its hands


def writes_of(*arguments: str) -> list[str]:
    """The writes to sysfs that a verb makes."""
    made: list[str] = []
    with intercepted(lambda path, data: made.append(f"{path.removeprefix(SYSFS)} {data!r}")):
        ran = atoll(*arguments)
    check(f"({arguments[0]} ends well)", ran.returncode == 0, told(ran))
    return made


def in_the_middle(before: dict[str, object], count: int, address: str, *, other: bool, late: bool = False) -> None:
    """At each write of an apply, a device is pulled, or exchanged; ``late``: while the journal is written."""
    way = ("exchanged" if other else "pulled") + (", once it is announced," if late else "")
    untouched = BLUE if address == RED else RED
    for at in range(count):
        says = f"{address} {way} before write {at} of an apply"
        acting = _Acting(address, at, other=other)
        with announced(acting) if late else intercepted(acting):
            ran = atoll("apply", "/vfio.toml")
        check(f"{says}: one line, a hint, exit code 5", one_line(ran) and ran.returncode == 5, told(ran))
        if other:
            check(f"{says}: the other device is not touched", state()[address] == acting.seen, (acting.seen, state()))
        rest = given(state())[untouched]
        check(f"{says}: the other cluster's is as before", rest == given(before)[untouched], told(ran))
        as_found(address)
        settled(says, before)


class _Acting:
    """What pulls or exchanges a device right before the write with a certain number."""

    def __init__(self, address: str, at: int, *, other: bool) -> None:
        self.address = address
        self.at = at
        self.other = other
        self.made = 0
        self.seen: object = None
        """The other device as it was found."""

    def __call__(self, path: str, data: bytes) -> None:
        self.made += 1
        if self.made == self.at + 1:
            monitor.pull(plugged[self.address], self.address)
            if self.other:
                plug(self.address, *OTHER[self.address])
                self.seen = state()[self.address]


# -- at the end


def locked_down() -> None:
    """What cannot be taken back; where the kernel has it (the lab's own has not)."""
    lockdown = Path("/sys/kernel/security/lockdown")
    if not lockdown.exists():
        subprocess.run(["/bin/busybox", "mount", "-t", "securityfs", "s", "/sys/kernel/security"], check=False)
    labguest.answer({"lockdown": lockdown.exists()})
    if not lockdown.exists():
        return
    succeeds("(apply)", "apply", "/vfio.toml")
    shutil.copytree(JOURNAL, "/tmp/applied")
    dies("release", "/vfio.toml", at="/unbind")
    with suppress(OSError):
        lockdown.write_text("integrity")
    check("the kernel can be locked down", "[integrity]" in lockdown.read_text(), lockdown.read_text())
    words = "the kernel is locked down (integrity)"
    refused("lockdown", 4, words, "recover")
    # The same machine, as if that release had not been begun.
    shutil.rmtree(JOURNAL)
    shutil.copytree("/tmp/applied", JOURNAL)
    refused("lockdown", 4, words, "release", "/vfio.toml")
    shutil.rmtree(JOURNAL)
    refused("lockdown", 4, words, "hold", "/held.toml")
    as_found(RED)
    as_found(BLUE)
    refused("lockdown", 4, words, "apply", "/vfio.toml")


def spec(handover: str) -> str:
    """Return a cluster file for two tenants."""
    return "".join(
        f'[cluster.{name}]\ndevices = ["{device}"]\nhandover = "{handover}"\n'
        for name, device in (("red", RED), ("blue", BLUE))
    )


write("/vfio.toml", spec("vfio"))
write("/held.toml", spec("held"))
succeeds("(plan)", "plan", "/vfio.toml", "-o", "/vfio.json")
before = state()
writes = writes_of("apply", "/vfio.toml")
succeeds("(release)", "release", "/vfio.toml")
labguest.answer({"writes": writes})
work: tuple[Callable[[], None], ...] = (
    not_root,
    read_only,
    two_at_once,
    partial(after_a_death, before),
    partial(without_vfio, before),
    partial(busy, before),
    partial(vanished, before),
    partial(exchanged, before),
    *(partial(in_the_middle, before, len(writes), RED, other=other) for other in (False, True)),
    partial(in_the_middle, before, len(writes), BLUE, other=True),
    partial(in_the_middle, before, len(writes), RED, other=True, late=True),
    locked_down,
)
for part in work:
    part()
    # Should a later part get stuck, it is known which.
    labguest.answer({"checks": checks})
labguest.answer({"release": os.uname().release})
