"""Inside the guest: each verb is killed at each of its points, and recovered, and given back, on one running kernel."""

import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from killing import DEVICES, Bar, Ended, Observed, Points, killed_at

import labguest
from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.live import LiveMachine
from atoll.act.recover import recover
from atoll.act.release import release
from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.errors import AtollError
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.guard import message
from atoll.guard.holding import Holding, the_only_holder
from atoll.guard.keepers import Keepers
from atoll.host import read_host
from atoll.host.model import Host
from atoll.isolation.proof import Verdict
from atoll.plan.planner import plan
from atoll.plan.possession import holder_name
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan
from atoll.vfio.handover import receive
from lab.gpu.driver import MAILBOX, Register

DRIVER = Path("/sys/bus/pci/drivers/pci-pf-stub")
"""Stands for the host's own driver of GPUs: it leaves them as they are."""
OUTLIVE = "hold, with tenants that outlive it"
MASK = 0xA00148
LINKS = 6
JOURNAL = Path("/var/lib/atoll/journal.sqlite")

order = json.loads(Path("/scenario/order.json").read_text())
gpus = [path.name for path in sorted(DEVICES.iterdir()) if (path / "vendor").read_text() == "0x10de\n"]
RED, BLUE = gpus
failures: list[dict[str, Any]] = []
counts: dict[str, dict[str, Any]] = {}


# -- the machine


def link(path: Path) -> str | None:
    return os.path.basename(os.readlink(path)) if path.is_symlink() else None


def text(path: Path) -> str:
    return path.read_text().strip()


def state() -> dict[str, Any]:
    """All that atoll may change, by the lab's own eyes."""
    found: dict[str, Any] = {"autoprobe": text(Path("/sys/bus/pci/drivers_autoprobe"))}
    for address in gpus:
        folder = DEVICES / address
        port = folder.resolve().parent
        with Bar(address) as words:
            cut = words[MASK // 4] >> 16
        members = sorted(os.listdir(folder / "iommu_group" / "devices"))
        command = int.from_bytes((folder / "config").read_bytes()[4:6], "little") & 6
        found[address] = [link(folder / "driver"), text(folder / "driver_override"), members, command, cut]
        found[f"{address} host's"] = [text(folder / "reset_method"), text(folder / "power/control")]
        found[f"{address} port"] = (port / "config").read_bytes()[0x148:0x150].hex()
    return found


def journal() -> bytes:
    return JOURNAL.read_bytes() if JOURNAL.exists() else b""


def prepare() -> None:
    """As a host is found: its driver has every GPU, memory decoding is on, bus mastering off."""
    (DRIVER / "new_id").write_text("10de 1db1")
    for address in gpus:
        config = os.open(DEVICES / address / "config", os.O_RDWR)
        os.pwrite(config, b"\x02\x01", 4)
        os.close(config)
    ends = [
        {
            "index": index,
            "bus_id": address,
            "uuid": f"GPU-{index}",
            "c2c": None,
            "fabric": None,
            "links": [
                {"link": number, "up": True, "remote": gpus[1 - index], "remote_link": number}
                for number in range(LINKS)
            ],
        }
        for index, address in enumerate(gpus)
    ]
    Path("/etc/atoll/records").mkdir(parents=True)
    Path("/etc/atoll/records/links.json").write_text(json.dumps({"schema": "atoll.nvml/1", "gpus": ends}))


def spec(handover: str, *clusters: str) -> str:
    """The cluster file of red, of blue, or of both."""
    driver = DRIVER.name if handover == "kernel" else "vfio-pci"
    addresses = {"red": RED, "blue": BLUE}
    tables = [
        f'[cluster.{name}]\ndevices = ["{addresses[name]}"]\nhandover = "{handover}"\ndriver = "{driver}"\n'
        for name in clusters
    ]
    return "".join(tables)


# -- verbs, each in a process of its own

Act = Callable[[LiveMachine], str]


def planned(spec: str) -> tuple[Host, Plan]:
    machine = LiveMachine()
    host = read_host(machine, registers=registers)
    clusters = read_spec(spec, host, name="spec")
    return host, plan(Topology(host), present(host), clusters, spec=spec)


def applying(spec: str) -> Act:
    """Carry out a plan, made for the machine as it is now."""
    host, made = planned(spec)
    must(not made.impossible, "it can be planned", made.impossible)

    def act(machine: LiveMachine) -> str:
        execute(machine, host, made)
        return ""

    return act


def holding(text: str, tenants: Sequence["Tenant"] = ()) -> Act:
    """Hold, and give back; with tenants, hand their devices to them and end as if killed."""
    host, made = planned(text)

    def act(machine: LiveMachine) -> str:
        assert isinstance(machine, Observed)
        # Tenants run on what is open for them, not on what is bound to a driver in the end.
        machine.points.hands_over = False
        clusters = read_spec(text, host, name="spec")
        # QEMU's root ports have a BAR, and whether redirection covers a port's own BAR is an open question.
        hold = Holding(machine, machine.keepers, clusters, text, Policy.TRUSTED)
        with the_only_holder(machine):
            outcome, found = hold.achieve(host, made)
            must(found.verdict is Verdict.PROVEN, "what is held is proven", (outcome.left, found))
            for tenant in tenants:
                tenant.take(machine)
            if tenants:
                machine.points.die()
            return "; ".join(hold.give_back().left)

    return act


def releasing(spec: str) -> Act:
    def act(machine: LiveMachine) -> str:
        host = read_host(machine, registers=registers)
        return "; ".join(release(machine, host, read_spec(spec, host, name="spec"), spec=spec).left)

    return act


def recovering(machine: LiveMachine) -> str:
    return "; ".join(f"{one.fate} {one.left or ''}" for one in recover(machine).runs)


def run(act: Act, *, at: int | None = None, tokens: int = 0) -> Ended:
    """Run it; with ``tokens``, whoever gets a device runs on it from then on."""
    owners = {address: tokens + number for number, address in enumerate(gpus)}

    def inside(points: Points) -> tuple[int, str]:
        try:
            return 0, act(Observed(points, keepers=Keepers()))
        except AtollError as error:
            return error.exit_code, error.message

    return killed_at(at, inside, owners=owners, hands_over=bool(tokens))


def fresh_tokens() -> int:
    """Of each round its own, so that the GPUs' logs tell which."""
    global round_
    round_ += 1
    return round_ * 16 + 1


round_ = 0


# -- what must be so


class Broken(Exception):
    """Something is not as it must be."""


def must(holds: object, what: str, detail: object = "") -> None:
    if not holds:
        raise Broken(f"{what}: {detail}")


def recovered(ends: tuple[dict[str, Any], ...]) -> None:
    """Recover; what must be so afterwards, however it died."""
    ran = run(recovering)
    must(ran.code == 0 and "left" not in ran.said, "recover ends well", (ran.code, ran.said))
    now = state()
    must(now in ends, "after recover the machine is as before, or the work is done", (ran.said, now, ends))
    kept = journal()
    ran = run(recovering)
    must(ran.code == 0 and not ran.said, "a second recover finds nothing", ran.said)
    must(journal() == kept, "a second recover changes nothing")


def well(ran: Ended, what: str) -> None:
    must(ran.code == 0 and not ran.said, f"{what} ends well", (ran.code, ran.said))


def chosen(name: str, count: int) -> list[int]:
    """The points at which something dies: some by chance, or all."""
    dice = random.Random(f"{order['seed']} {name}")
    return sorted(dice.sample(range(count), min(order["most"], count)))


def tell() -> None:
    labguest.answer({"release": os.uname().release, "counts": counts, "failures": failures})


Before = Callable[[int], None]
"""Something done before, with the owners' tokens."""


def done(act: Act, *, gives: bool = True) -> Before:
    """It is carried out whole. ``gives``: devices are handed over, otherwise taken back."""
    return lambda tokens: well(run(act, tokens=tokens if gives else 0), "what is before")


def died(act: Act, at: int, *, gives: bool = True) -> Before:
    """It dies at a point."""

    def dies(tokens: int) -> None:
        ran = run(act, at=at, tokens=tokens if gives else 0)
        must(ran.killed, "the first is killed", (ran.code, ran.said))

    return dies


@dataclass(frozen=True, slots=True)
class Dying:
    """What dies, and what there is around it."""

    name: str
    spec: str
    act: Callable[[], Act]
    """Made on the machine as it is when it begins."""
    before: tuple[Before, ...] = ()
    runs: bool = False
    """Whether owners run on what they are given."""
    gives: bool = False
    """Whether it hands devices over; otherwise it takes them back."""
    resumes: bool = False
    """Whether it begins where another died: to stay there is no end."""

    def deaths(self) -> int:
        """Let it die at every chosen point; return how many there are."""
        initial = state()
        tokens = self.ready()
        between = state()
        act = self.act()
        whole = run(act, tokens=tokens if self.gives else 0)
        must(whole.code == 0 and "left" not in whole.said, f"{self.name} ends well", (whole.code, whole.said))
        after = state()
        self.give_back(initial)
        ends = (initial, after) if self.resumes else (initial, between, after)
        began, survived = time.monotonic(), 0
        numbers = chosen(self.name, len(whole.points))
        for at in numbers:
            try:
                tokens = self.ready()
                must(state() == between, "it is as it was before the first time", (state(), between))
                died(act, at, gives=self.gives)(tokens)
                recovered(ends)
                self.give_back(initial)
            except Broken as broken:
                point = f"{at}: {whole.points[at]}"
                failures.append({"verb": self.name, "point": point, "what": str(broken), "round": round_})
                # What comes next begins where this did, as far as that can be had.
                with suppress(Broken):
                    self.give_back(initial)
                break
            survived += 1
        seconds = round(time.monotonic() - began, 1)
        told = {"points": len(whole.points), "chosen": len(numbers), "survived": survived, "seconds": seconds}
        counts[self.name] = told
        tell()
        return len(whole.points)

    def ready(self) -> int:
        """Bring the machine to where it begins; return the owners' tokens.

        Each time without a journal: making one is part of the first run of a host, and has points of its own.
        """
        JOURNAL.unlink(missing_ok=True)
        tokens = fresh_tokens() if self.runs else 0
        for act in self.before:
            act(tokens)
        return tokens

    def give_back(self, initial: dict[str, Any]) -> None:
        """Give back what there is to be given back; then all is as in the beginning."""
        record = read_journal(LiveMachine())
        must(not record.dead, "nothing dead is left", record.dead)
        if record.entries:
            well(run(releasing(self.spec)), "release")
        must(state() == initial, "at the end all is as in the beginning", (state(), initial))
        record = read_journal(LiveMachine())
        must(not record.entries, "the journal is empty", record.entries)


def recoveries(dying: Dying, count: int) -> None:
    """Let recovering die that was begun after deaths early, in the middle and at the end of something."""
    act = dying.act()
    for share in order["shares"]:
        at = min(int(share * count), count - 1)
        before = (*dying.before, died(act, at, gives=dying.gives))
        name = f"recover of {dying.name}, dead at {at}"
        Dying(name, dying.spec, lambda: recovering, before, dying.runs, resumes=True).deaths()


class Tenant:
    """An owner's process. It drives the device that it is handed, and ends when it is killed."""

    def __init__(self, cluster: str, address: str) -> None:
        self.cluster = cluster
        self.address = address
        self.connection, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if not self.pid:
            try:
                Path("/proc/self/comm").write_text("tenant")
                self.connection.close()
                self.live(there)
            finally:
                os._exit(0)
        there.close()

    @staticmethod
    def live(connection: socket.socket) -> None:
        """Look at the device, reset it, or run on it no longer, whenever that is asked for."""
        answer, descriptors = message.receive(connection)
        assert answer is not None
        device = receive(answer["handover"], descriptors).devices[0]
        connection.send(b"taken")
        while asked := connection.recv(64):
            if asked == b"reset":
                device.reset()
                device.decode(True)
            elif asked == b"stop":
                device.region(0).write32(MAILBOX + Register.OWNER, 0)
            connection.send(str(device.region(0).read32(MASK) >> 16).encode())

    def take(self, machine: Observed) -> None:
        """Have its device handed to it by its keeper."""
        keeping = machine.keepers.by_holder[holder_name(self.cluster)]
        keeping.order("hand", None, self.connection.fileno(), devices=[self.address], reply={})
        # Its keeper sends through it without waiting, which holds for all who have it.
        self.connection.setblocking(True)
        must(self.connection.recv(64) == b"taken", "the tenant has its device")
        machine.points.mine.pop(self.address)

    def ask(self, what: bytes) -> int:
        """Return the links that it sees as cut, after what it was asked to do."""
        self.connection.send(what)
        return int(self.connection.recv(64))

    def end(self) -> None:
        """Kill it: what it has open is closed, which resets its device."""
        self.ask(b"stop")
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.connection.close()


def orphans() -> None:
    """The holder dies; its tenants run on. Nothing is taken from them, and what one opens is cut again."""
    text, initial = spec("held", "red", "blue"), state()
    tenants = Tenant("red", RED), Tenant("blue", BLUE)
    ran = run(holding(text, tenants), tokens=fresh_tokens())
    must(ran.killed, "devices are handed over, and the holder is killed", (ran.code, ran.said))
    cut = [tenant.ask(b"look") for tenant in tenants]
    must(cut == [0x3F, 0x3F], "all links are cut", cut)
    ran = run(recovering)
    cut = [tenant.ask(b"look") for tenant in tenants]
    must("its owner runs" in ran.said and cut == [0x3F, 0x3F], "nothing is taken from tenants", (ran.said, cut))
    must(tenants[0].ask(b"reset") == 0, "a tenant's reset opens its end")
    ran = run(recovering)
    again = tenants[0].ask(b"look") == 0x3F
    must(again or "could not be cut again" in ran.said, "recover cuts it again, or says so", ran.said)
    for tenant in tenants:
        tenant.end()
    recovered((initial,))
    labguest.answer({"cut again beside a tenant": again})


prepare()
for handover in order["handovers"]:
    runs = handover != "vfio"
    both, red = spec(handover, "red", "blue"), spec(handover, "red")
    if handover == "held":
        Dying("hold, and its end", both, partial(holding, both), (), runs, gives=True).deaths()
        try:
            orphans()
            survived = 1
        except Broken as broken:
            failures.append({"verb": OUTLIVE, "point": "the end", "what": str(broken), "round": round_})
            survived = 0
        counts[OUTLIVE] = {"points": 1, "chosen": 1, "survived": survived, "seconds": 0}
        continue
    two = applying(both)
    applied = Dying(f"apply ({handover})", both, partial(applying, both), (), runs, gives=True)
    recoveries(applied, applied.deaths())
    # The second one's device has no driver before: otherwise nothing would be left to be done for it.
    if state()[BLUE][0] == DRIVER.name:
        (DRIVER / "unbind").write_text(BLUE)
    one = done(applying(red))
    Dying(f"second apply ({handover})", both, partial(applying, both), (one,), runs, gives=True).deaths()
    if state()[BLUE][0] is None:
        (DRIVER / "bind").write_text(BLUE)
    released = Dying(f"release ({handover})", both, partial(releasing, both), (done(two),), runs)
    recoveries(released, released.deaths())
tell()
