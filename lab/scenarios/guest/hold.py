"""Inside the guest: two clusters are held and driven by their owners, who do what they can to one another."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hold_run import DEVICES, POLICY, Holder, Owner, atoll, document, record_links

import labguest
from atoll.pci.address import Address
from atoll.plan.possession import holder_name
from atoll.vfio import open_space
from lab.gpu.driver import Gpu, gpus, mapped_registers
from labguest import PATIENCE, check, checks, until

SETTING: dict[str, Any] = json.loads(Path("/scenario/setting.json").read_text())
SECRETS: list[str] = SETTING["secrets"]
LINKS: list[list[int]] = SETTING["links"]
COUNT = len(SECRETS)
CLUSTERS = {"red": list(range(COUNT // 2)), "blue": list(range(COUNT // 2, COUNT))}
USERS = {"red": 1001, "blue": 1002}
ALONE = 100
"""The token that tells the GPUs' logs that the holder is about to go."""

facts: dict[str, object] = {}


ADDRESSES = [folder.name for folder in gpus()]


def peers(index: int) -> dict[int, int]:
    """The peer at the other end of each link of a GPU."""
    found = {}
    for a, a_number, b, b_number in LINKS:
        if a == index:
            found[a_number] = b
        if b == index:
            found[b_number] = a
    return found


def spec(handover: str) -> str:
    """Return the cluster file."""
    tables = []
    for name, members in CLUSTERS.items():
        listed = ", ".join(f'"{ADDRESSES[index]}"' for index in members)
        owner = f"owner = {USERS[name]}\n" if handover == "held" else ""
        tables.append(f'[cluster.{name}]\ndevices = [{listed}]\nhandover = "{handover}"\n{owner}')
    return "\n".join(tables)


# -- what is so


def attacked(read: Callable[[int, int], object]) -> tuple[set[str], set[str]]:
    """Return what attacks over all links across and inside brought; ``read`` attacks over one link of one GPU."""
    owner = {index: name for name, members in CLUSTERS.items() for index in members}
    across: set[str] = set()
    inside: set[str] = set()
    for index in range(COUNT):
        for number, peer in peers(index).items():
            found = read(index, number)
            said = "secret" if found == SECRETS[peer] else str(found)
            (inside if owner[index] == owner[peer] else across).add(said)
    return across, inside


def by_sysfs(index: int, number: int) -> object:
    """Let a GPU read a neighbour's secret over one link, through resource0; return what came of it."""
    with mapped_registers(DEVICES / ADDRESSES[index]) as words:
        try:
            return Gpu(words).secret(number).decode()
        except OSError as error:
            return f"errno {error.errno}"


def state() -> dict[str, object]:
    """What atoll may change."""
    links = {path.name: path / "driver" for path in DEVICES.iterdir()}
    return {
        "drivers": {name: os.path.basename(os.readlink(link)) for name, link in links.items() if link.is_symlink()},
        "overrides": {name: (DEVICES / name / "driver_override").read_text() for name in links},
    }


def recuts() -> dict[str, dict[str, Any]]:
    """What the journal says was cut again, by device."""
    with sqlite3.connect("file:/var/lib/atoll/journal.sqlite?mode=ro", uri=True) as database:
        rows = database.execute("SELECT target, value FROM write WHERE target LIKE '% recut'").fetchall()
    return {target.split()[0]: json.loads(value) for target, value in rows}


def is_recut(address: str, number: int) -> bool:
    """Whether the journal says that a device was cut again so often."""
    return int(recuts().get(address, {}).get("number", 0)) >= number


def standing() -> dict[str, list[int]]:
    """What the journal says stays cut."""
    with sqlite3.connect("file:/var/lib/atoll/journal.sqlite?mode=ro", uri=True) as database:
        rows = database.execute("SELECT target, value FROM write WHERE target LIKE '% links'").fetchall()
    return {target.split()[0]: json.loads(value) for target, value in rows}


# -- the scenario


def before_it() -> None:
    """Attack while nothing is held: all links are open."""
    across, inside = attacked(by_sysfs)
    check("before, every attack over every link reads the secret", across | inside == {"secret"}, (across, inside))


def held(holder: Holder) -> dict[str, Owner]:
    """Start the holder, and an owner for each cluster."""
    told = holder.ready()
    check("hold proves it", told["verdict"] == "proven", told)
    check("hold proves it as handed over too", told["handed_over"]["verdict"] == "proven", told["handed_over"])
    check("one tenant event opens nothing", told["resilience"]["tenant"] in (None, 2), told["resilience"])
    facts["tenant events"] = told["resilience"]["tenant"]
    check("what stays cut is in the journal", set(standing()) == set(ADDRESSES), standing())
    owners = {name: Owner(name, USERS[name]) for name in CLUSTERS}
    for name, owner in owners.items():
        other = next(one for one in CLUSTERS if one != name)
        mine = [ADDRESSES[index] for index in CLUSTERS[name]]
        check(f"{name} cannot take {other}", "refused" in owner.ask("take", of=other))
        refused = owner.ask("take", of=ADDRESSES[CLUSTERS[other][0]])
        check(f"{name} cannot take a device of {other}", "refused" in refused, refused)
        taken = owner.ask("take", of=name)
        check(f"{name} takes its own", taken == mine, taken)
        seen = owner.ask("state")
        check(f"{name} sees its own cluster alone", [c["name"] for c in seen["clusters"]] == [name], seen)
    if SETTING["whole"]:
        stranger = Owner("nobody", 1003)
        check("a user without a cluster takes nothing", "refused" in stranger.ask("take", of="red"))
        stranger.end()
    facts["api"] = owners["red"].ask("api")
    for token, (name, owner) in enumerate(owners.items(), start=1):
        owner.ask("start", tokens={ADDRESSES[index]: token for index in CLUSTERS[name]})
    return owners


def attacks(owners: dict[str, Owner], when: str, *, cut: bool = True) -> None:
    """Every owner attacks over every link."""
    found: dict[int, list[object]] = {}
    for name, members in CLUSTERS.items():
        answers = owners[name].ask("secrets", devices=[ADDRESSES[index] for index in members])
        found |= {index: answers[ADDRESSES[index]] for index in members}
    across, inside = attacked(lambda index, number: found[index][number])
    if cut:
        check(f"{when}: nothing passes across", "secret" not in across and across, across)
    else:
        check(f"{when}: something passes across", "secret" in across, across)
    if any(len(members) > 1 for members in CLUSTERS.values()):
        check(f"{when}: all passes inside", inside == {"secret"}, inside)


def undoing(owners: dict[str, Owner]) -> None:
    """Let owners write whatever could open their links."""
    masks: dict[str, int] = {}
    for name, members in CLUSTERS.items():
        masks |= owners[name].ask("poke", devices=[ADDRESSES[index] for index in members])
    check("writing registers opens nothing", all(masks.values()), masks)
    attacks(owners, "after writing the registers")


def resets(owners: dict[str, Owner]) -> None:
    """Let owners reset their devices, and measure how long a link stays open."""
    late: list[float] = []
    work: list[float] = []
    for turn in range(SETTING["resets"]):
        for name, members in CLUSTERS.items():
            address = ADDRESSES[members[0]]
            returned = owners[name].ask("reset", device=address)
            number = turn + 1
            ok = until(partial(is_recut, address, number))
            check(f"reset {number} of {name}: cut again, and in the journal", ok, (recuts(), returned))
            if not ok:
                continue
            told = recuts()[address]
            late.append((told["cut"] - returned) / 1e6)
            work.append((told["cut"] - told["seen"]) / 1e6)
    attacks(owners, "after resets by the owners")
    facts["milliseconds from a reset's return to the cut"] = [round(value, 3) for value in sorted(late)]
    facts["milliseconds from seeing to the cut"] = [round(value, 3) for value in sorted(work)]
    if late:
        facts["median"] = round(statistics.median(late), 3)
        check("cut again before the next millisecond", max(late) < 1.0, late)


def hidden_reset(owners: dict[str, Owner]) -> None:
    """An owner resets and switches decoding off, so that nobody can look."""
    address = ADDRESSES[CLUSTERS["red"][0]]
    before = recuts().get(address, {}).get("number", 0)
    owners["red"].ask("decode off", device=address)
    owners["red"].ask("reset", device=address)
    ok = until(partial(is_recut, address, before + 1))
    check("a reset behind decoding that is off is found out too", ok, recuts())


def dma(owners: dict[str, Owner]) -> None:
    """Let owners send DMA to what they mapped, and to what others did."""
    owners["red"].ask("map", text="memory of red")
    red, blue = (ADDRESSES[CLUSTERS[name][0]] for name in ("red", "blue"))
    inside = owners["red"].ask("dma", device=red, size=13)
    across = owners["blue"].ask("dma", device=blue, size=13)
    check("DMA to what its own cluster mapped succeeds", inside == "memory of red", inside)
    check("DMA across fails", str(across).startswith("errno"), across)
    last = ADDRESSES[CLUSTERS["red"][-1]]
    check("so it does for all of the cluster", owners["red"].ask("dma", device=last, size=13) == "memory of red")


def asking() -> None:
    """Ask the holder, as root and as others."""
    ran = atoll("hold", "--state")
    check("hold --state tells root all", ran.returncode == 0 and all(a in ran.stdout for a in ADDRESSES), ran)
    verdicts: list[str] = []

    def told() -> bool:
        # What it has not seen for a while, as on a busy host, is unknown until it looks again.
        verdicts.append(document(atoll("hold", "--proof", "--json"))["verdict"])
        return verdicts[-1] != "unknown"

    until(told)
    check("while owners run, the holder proves it", verdicts[-1] == "proven", verdicts)
    ran = atoll("hold", "/held.toml")
    check("a second holder is refused", ran.returncode == 4 and "a holder runs on live" in ran.stderr, ran)
    ran = atoll("release", "/held.toml")
    check("release takes nothing from a holder", ran.returncode == 4, ran)


def died(holder: Holder, owners: dict[str, Owner]) -> None:
    """Killed: owners keep what they have, and nobody cuts again."""
    owners["red"].ask("start", tokens={ADDRESSES[CLUSTERS["red"][0]]: ALONE})
    keepers = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and named(p) in KEEPERS]
    check("each cluster had a process of its own", len(keepers) == len(CLUSTERS), keepers)
    holder.end(signal.SIGKILL)
    check("keepers end with the holder", until(lambda: not any(alive(pid) for pid in keepers)), keepers)
    attacks(owners, "after the holder's death")
    ran = atoll("hold", "/held.toml")
    check("hold is refused until it is recovered", ran.returncode == 4 and "recover" in ran.stderr, ran)
    ran = atoll("recover")
    check("recover takes nothing from owners", ran.returncode and "its owner runs" in ran.stdout, ran)
    attacks(owners, "after recovering beside owners")
    owners["red"].ask("reset", device=ADDRESSES[CLUSTERS["red"][0]])
    attacks(owners, "after a reset at one end without the holder")
    owners["blue"].ask("reset", device=ADDRESSES[CLUSTERS["blue"][0]])
    attacks(owners, "after resets at both ends without the holder, as resilience said", cut=False)
    for owner in owners.values():
        owner.end()
    ran = atoll("recover")
    check("once owners have ended, recover gives all back", ran.returncode == 0, ran)
    check("drivers and overrides are as before", state() == STATE, (STATE, state()))


KEEPERS = {holder_name(name) for name in CLUSTERS}


def named(process: Path) -> str:
    """Return what a process is called; empty where it has ended."""
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """Whether a keeper runs under this number."""
    return named(Path("/proc") / str(pid)) in KEEPERS


def ended() -> None:
    """A holder that ends in good order: owners are told, and have time."""
    holder = Holder("/held.toml", "--grace", "1.5")
    holder.ready()
    owner = Owner("red", USERS["red"])
    check("red takes its own again", owner.ask("take", of="red"))
    code = holder.end()
    check("an owner that stays keeps all as it is", code == 1, (code, holder.said()))
    heard = owner.ask("heard")
    check("the owner was told, and has time", 0 < heard <= 1.5, heard)
    owner.end()
    ran = atoll("recover")
    check("then recover gives back", ran.returncode == 0 and state() == STATE, (ran, state()))
    holder = Holder("/held.toml")
    holder.ready()
    ran = atoll("hold", "--stop")
    code = holder.process.wait(PATIENCE)
    check("hold --stop gives all back", (ran.returncode, code, state()) == (0, 0, STATE), (ran, code, holder.said()))
    ran = atoll("recover")
    check("and leaves nothing to recover", ran.returncode == 0 and "Nothing to recover" in ran.stdout, ran)


def handed_by_vfio() -> None:
    """Cut without a holder: it holds until a guest resets its device."""
    ran = atoll("apply", "/vfio.toml", "--json", *POLICY)
    told = json.loads(ran.stdout)
    over = told["handed_over"]["verdict"]
    both = (told["verdict"], over)
    check('handover = "vfio" is proven now, violated as handed over', both == ("proven", "violated"), told)
    across, _ = attacked(by_sysfs)
    check("and nothing passes across now", "secret" not in across, across)
    with open_space() as space:
        for address in ADDRESSES:
            device = space.open(Address.parse(address))
            device.decode(True)
        bars = [device.region(0) for device in space.devices]
        owner = {index: name for name, members in CLUSTERS.items() for index in members}
        index, number = next((i, n) for i in range(COUNT) for n, peer in peers(i).items() if owner[i] != owner[peer])
        found = Gpu(bars[index]).secret(number).decode()
        check("once owners opened them, it passes", found == SECRETS[peers(index)[number]], found)
    ran = atoll("release", "/vfio.toml")
    check("release ends well", ran.returncode == 0 and state() == STATE, (ran, state()))


record_links(ADDRESSES, LINKS)
Path("/held.toml").write_text(spec("held"))
Path("/vfio.toml").write_text(spec("vfio"))
STATE = state()
before_it()
holder = Holder("/held.toml")
owners = held(holder)
attacks(owners, "held")
undoing(owners)
dma(owners)
resets(owners)
labguest.answer({"release": os.uname().release, "checks": checks, "facts": facts})
if SETTING["whole"]:
    hidden_reset(owners)
    asking()
    died(holder, owners)
    ended()
    handed_by_vfio()
else:
    for name, one in owners.items():
        one.ask("start", tokens={ADDRESSES[index]: 0 for index in CLUSTERS[name]})
        one.end()
    check("it ends well", (holder.end(), state()) == (0, STATE), (holder.said(), state()))
labguest.answer({"release": os.uname().release, "checks": checks, "facts": facts, "said": holder.said()[-4000:]})
