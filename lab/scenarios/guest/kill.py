"""Inside the guest: each verb is killed at each of its points, and recovered, and given back, on one running kernel."""

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from killed_host import BLUE, DRIVER, JOURNAL, RED, Broken, journal, must, prepare, spec, state
from killed_verbs import Act, applying, holding, recovering, releasing, run
from killing import Ended
from tenant import Tenant

import labguest
from atoll.act.journal import read_journal
from atoll.act.live import LiveMachine

HOLD = "hold, and its end"
OUTLIVE = "hold, with tenants that outlive it"
order = json.loads(Path("/scenario/order.json").read_text())
failures: list[dict[str, Any]] = []
counts: dict[str, dict[str, Any]] = {}


def fresh_tokens() -> int:
    """Of each round its own, so that the GPUs' logs tell which."""
    global round_
    round_ += 1
    return round_ * 16 + 1


round_ = 0


# -- what must be so


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
    """Note a failure where a run did not end well."""
    must(ran.code == 0 and not ran.said, f"{what} ends well", (ran.code, ran.said))


def chosen(name: str, count: int) -> list[int]:
    """The points at which something dies: some, or all. Of one seed after the other it is the next ones each time, in
    an order by chance: so that all have been tried once as many seeds have as there are parts."""
    numbers = list(range(count))
    random.Random(name).shuffle(numbers)
    most = min(order["most"], count)
    begin = order["seed"] * order["most"] % count
    return sorted((numbers * 2)[begin : begin + most])


def tell() -> None:
    """Answer with all that was counted so far: the guest may be cut off at any moment."""
    answer: dict[str, object] = {"release": os.uname().release, "planned": planned()}
    answer |= {"counts": counts, "failures": failures}
    labguest.answer(answer)


def planned() -> list[str]:
    """The names of all that is to die, in the order in which it is let die."""
    names: list[str] = []
    for handover in order["handovers"]:
        if handover == "held":
            names += [HOLD, OUTLIVE]
            continue
        apply, release = f"apply ({handover})", f"release ({handover})"
        names += [apply, *recoveries_of(apply), f"second apply ({handover})", release, *recoveries_of(release)]
    return names


def recoveries_of(name: str) -> list[str]:
    """The names of recoveries, begun after early and late deaths of something."""
    return [f"recover of {name}, dead at {share:.0%}" for share in order["shares"]]


class Clock:
    """Where the time goes, by what is done."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[what] = round(self.seconds.get(what, 0) + time.monotonic() - began, 1)


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
        began, clock = time.monotonic(), Clock()
        numbers = chosen(self.name, len(whole.points))
        points = [f"{at}: {whole.points[at]}" for at in numbers]
        survived: list[str] = []
        counts[self.name] = told = {"points": len(whole.points), "chosen": points, "survived": survived}
        tell()
        for at, point in zip(numbers, points, strict=True):
            try:
                self.die(act, at, initial, between, ends, clock)
            except Broken as broken:
                failures.append({"verb": self.name, "point": point, "what": str(broken), "round": round_})
                # What comes next begins where this did, as far as that can be had.
                with suppress(Broken):
                    self.give_back(initial)
                break
            survived.append(point)
            tell()
        told |= {"seconds": round(time.monotonic() - began, 1), "of which": clock.seconds}
        tell()
        return len(whole.points)

    def die(
        self,
        act: Act,
        at: int,
        initial: dict[str, Any],
        between: dict[str, Any],
        ends: tuple[dict[str, Any], ...],
        clock: Clock,
    ) -> None:
        """Let it die at one point, ``between`` what was before it and one of its ``ends``, and give all back."""
        with clock("begin"):
            tokens = self.ready()
            must(state() == between, "it is as it was before the first time", (state(), between))
        with clock("die"):
            died(act, at, gives=self.gives)(tokens)
        with clock("recover"):
            recovered(ends)
        with clock("give back"):
            self.give_back(initial)

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
    for share, name in zip(order["shares"], recoveries_of(dying.name), strict=True):
        at = min(int(share * count), count - 1)
        before = (*dying.before, died(act, at, gives=dying.gives))
        Dying(name, dying.spec, lambda: recovering, before, dying.runs, resumes=True).deaths()


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


tell()
prepare()
for handover in order["handovers"]:
    runs = handover != "vfio"
    both, red = spec(handover, "red", "blue"), spec(handover, "red")
    if handover == "held":
        Dying(HOLD, both, partial(holding, both), (), runs, gives=True).deaths()
        counts[OUTLIVE] = outlived = {"points": 1, "chosen": ["the end"], "survived": []}
        try:
            orphans()
            outlived["survived"] = outlived["chosen"]
        except Broken as broken:
            failures.append({"verb": OUTLIVE, "point": "the end", "what": str(broken), "round": round_})
        tell()
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
