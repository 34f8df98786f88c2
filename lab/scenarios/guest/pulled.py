"""Inside the guest: held devices are pulled from under their holder and their owners; the rest stays apart."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

from hold_run import DEVICES, Holder, Owner, atoll, document, record_links
from plug import Monitor

import labguest
from lab.gpu.driver import gpus
from labguest import until

SETTING: dict[str, Any] = json.loads(Path("/scenario/setting.json").read_text())
SECRETS: list[str] = SETTING["secrets"]
LINKS: list[list[int]] = SETTING["links"]
USERS = {"red": 1001, "blue": 1002}
SPEC = "/held.toml"

facts: dict[str, object] = {}
monitor = Monitor()
GPUS = FIRST, SECOND, OTHER = [folder.name for folder in gpus()]
"""The first two are red's, the third is blue's."""
tokens = iter(range(1, 1000))


def check(says: str, ok: object, detail: object = "") -> None:
    """Note a check, and answer with all so far."""
    labguest.check(says, ok, detail)
    labguest.answer({"release": os.uname().release, "checks": labguest.checks, "facts": facts})


def spec() -> str:
    """Return the cluster file."""
    members = {"red": [FIRST, SECOND], "blue": [OTHER]}
    return "\n".join(
        f'[cluster.{name}]\ndevices = {json.dumps(devices)}\nhandover = "held"\nowner = {USERS[name]}\n'
        for name, devices in members.items()
    )


# -- looking


def state() -> dict[str, object]:
    """Of each device its driver and what keeps others from it."""
    return {
        path.name: (
            os.path.basename(os.readlink(path / "driver")) if (path / "driver").is_symlink() else None,
            (path / "driver_override").read_text(),
        )
        for path in sorted(DEVICES.iterdir())
    }


def without(seen: dict[str, object], *addresses: str) -> dict[str, object]:
    """Return what was seen, without some functions."""
    return {address: how for address, how in seen.items() if address not in addresses}


def there(address: str) -> bool:
    """Whether a function is there."""
    return address in os.listdir(DEVICES)


def recuts(address: str) -> int:
    """Return how often the holder noted that it cut a device again."""
    with sqlite3.connect("file:/var/lib/atoll/journal.sqlite?mode=ro", uri=True) as database:
        rows = database.execute("SELECT value FROM write WHERE target = ?", (f"{address} recut",)).fetchall()
    return int(json.loads(rows[0][0])["number"]) if rows else 0


def stands(address: str) -> dict[str, Any]:
    """How the holder says that a device stands."""
    ran = atoll("hold", "--state", "--json")
    devices = [d for cluster in document(ran)["clusters"] for d in cluster["devices"]]
    return next(d for d in devices if d["address"] == address)


def is_cut(*addresses: str) -> bool:
    """Whether the holder sees devices as cut.

    Where it has not looked for a while, as on a busy host, it says unknown and is asked again; open, never.
    """
    seen: set[str] = set()

    def looked() -> bool:
        seen.clear()
        seen.update(stands(address)["sight"] for address in addresses)
        return "unknown" not in seen

    until(looked)
    return seen == {"cut"}


def is_let_go(address: str) -> bool:
    """Whether the holder says that it has let a device go, which it does once it has."""
    return until(lambda: "was let go" in stands(address)["reason"])


def read(owner: Owner, address: str) -> set[int]:
    """Whose secrets an owner's attacks over all links of a device bring."""
    found = owner.ask("secrets", devices=[address])[address]
    return {SECRETS.index(answer) for answer in found if answer in SECRETS}


def apart(when: str, owners: dict[str, Owner], red: str) -> None:
    """What each owner resets is cut again; and nothing passes across."""
    for name, address in (("red", red), ("blue", OTHER)):
        before = recuts(address)
        owners[name].ask("reset", device=address)
        ok = until(lambda address=address, before=before: recuts(address) > before)  # type: ignore[misc]
        check(f"{when}: after a reset by {name} its device is cut again", ok, (before, recuts(address)))
    check(f"{when}: blue reads nothing of red", not read(owners["blue"], OTHER))
    check(f"{when}: red reads nothing of blue", 2 not in read(owners["red"], red))


# -- doing


def pull(index: int) -> float:
    """Ask the emulator for it; return when."""
    said = monitor.execute("device_del", id=f"gpu{index}")
    check(f"(GPU {index} is asked for)", said is None, said)
    return time.monotonic()


def plug(index: int) -> None:
    """The same again, as it was; the place is free once the emulator, too, has taken leave of what was there."""
    told = json.loads(SETTING["again"][index])
    said: list[str | None] = []

    def taken() -> bool:
        said.append(monitor.execute("device_add", **told))
        return said[-1] is None

    ok = until(taken) and until(lambda: there(GPUS[index]))
    check(f"(GPU {index} is plugged again)", ok, said[-1:])


def held(*options: str) -> Holder:
    """Start the holder."""
    holder = Holder(SPEC, *options)
    holder.ready()
    return holder


def owners() -> dict[str, Owner]:
    """Start an owner for each cluster, and run its GPUs."""
    found = {name: Owner(name, USERS[name]) for name in USERS}
    for name, owner in found.items():
        mine = owner.ask("take", of=name)
        token = next(tokens)
        owner.ask("start", tokens=dict.fromkeys(mine, token))
    return found


def end(found: dict[str, Owner]) -> None:
    """Stop owners in good order."""
    for owner in found.values():
        owner.ask("stop")
        owner.end()


# -- the scenario


def nobody_has_it() -> None:
    """Held, and no owner has taken it: it is let go at once, and the rest stays as it is."""
    holder = held()
    began = pull(1)
    gone = until(lambda: not there(SECOND))
    facts["seconds until what nobody had was gone"] = round(time.monotonic() - began, 2)
    check("what no owner has is let go at once", gone, (atoll("hold", "--state"), holder.said()))
    let_go, said = is_let_go(SECOND), stands(SECOND)
    check("the holder says so", let_go and said["sight"] == "unknown", said)
    check("the others are seen to be cut", is_cut(FIRST, OTHER), holder.said())
    ran = atoll("hold", "--proof", "--json")
    open_still = ran.returncode == 3 and document(ran)["verdict"] == "unknown"
    check("what records tell of and is not there proves nothing", open_still, ran)
    found = owners()
    check("of the cluster the rest is handed out", red_has(found) == [FIRST], red_has(found))
    apart("one is gone", found, FIRST)
    plug(1)
    record_links(GPUS, LINKS)
    apart("one is back, and the host's", found, FIRST)
    check("one is back, and the host's: red reads nothing of it", not read(found["red"], FIRST), stands(FIRST))
    check("it is not held any more", is_let_go(SECOND), stands(SECOND))
    end(found)
    code = holder.end()
    check("the holder ends well", code == 0, (code, holder.said()))
    settled("pulled, plugged again, and given back", STATE)


def red_has(found: dict[str, Owner]) -> list[str]:
    """Return the devices that red has by now."""
    return [str(address) for address in found["red"].ask("devices")]


def its_owner_has_it() -> None:
    """It stays, and stays cut, until its owner lets go."""
    holder = held()
    found = owners()
    pull(1)
    asked = until(lambda: "waits for process" in stands(SECOND)["reason"])
    check("the holder says that an owner has it", asked, (stands(SECOND), holder.said()))
    heard = found["red"].ask("wanted")
    check("its owner is told", heard == [SECOND], heard)
    check("it is seen to be cut still", is_cut(SECOND), stands(SECOND))
    apart("its owner has it still", found, FIRST)
    before = recuts(SECOND)
    reset = found["red"].ask("try reset", device=SECOND)
    check("its owner cannot reset it now", str(reset).startswith("errno"), reset)
    facts["a reset by the owner of what the kernel wants back"] = reset
    check("and it is cut", recuts(SECOND) == before and is_cut(SECOND), stands(SECOND))
    began = time.monotonic()
    found["red"].ask("start", tokens={SECOND: 0})
    found["red"].ask("let go", device=SECOND)
    gone = until(lambda: not there(SECOND))
    facts["seconds from an owner's close until it was gone"] = round(time.monotonic() - began, 2)
    check("once its owner closes it, it goes", gone, (stands(SECOND), holder.said()))
    apart("its owner has closed it", found, FIRST)
    pull(2)
    asked = until(lambda: "waits for process" in stands(OTHER)["reason"])
    check("the holder says so of another cluster too", asked, (stands(OTHER), holder.said()))
    found["blue"].ask("stop")
    found["blue"].end()
    check("once its owner has ended, it goes", until(lambda: not there(OTHER)), (stands(OTHER), holder.said()))
    check("what is left is held, and cut", is_cut(FIRST), stands(FIRST))
    found["red"].ask("stop")
    found["red"].end()
    code = holder.end()
    check("the holder ends, and says what is not there", code == 1, (code, holder.said()))
    settled("two pulled, the rest given back", without(STATE, SECOND, OTHER))
    plug(1)
    plug(2)
    check("what is plugged again is the host's", state() == STATE, (STATE, state()))


def while_it_ends() -> None:
    """Pulled in the moment in which all is given back."""
    holder = held()
    pull(0)
    code = holder.end()
    check("pulled while the holder ends: it ends", code in (0, 1), (code, holder.said()))
    check("pulled while the holder ends: it goes", until(lambda: not there(FIRST)), state())
    settled("pulled while the holder ends", without(STATE, FIRST))
    plug(0)


def its_driver_is_taken_off() -> None:
    """What the host's administrator can do to what is open, too."""
    holder = held()
    Path("/sys/bus/pci/drivers/vfio-pci/unbind").write_text(SECOND)
    check("its driver is taken off: it is let go", is_let_go(SECOND), (stands(SECOND), holder.said()))
    check("its driver is taken off: the others are cut", is_cut(OTHER), holder.said())
    code = holder.end()
    check("its driver is taken off: the holder ends well", code == 0, (code, holder.said()))
    settled("its driver was taken off", STATE)


def the_holder_dies() -> None:
    """While the kernel waits for an owner, the holder is killed."""
    holder = held()
    found = owners()
    pull(1)
    until(lambda: "waits for process" in stands(SECOND)["reason"])
    found["blue"].ask("stop")
    holder.end(signal.SIGKILL)
    # Its override is behind the device's lock, which the kernel holds (before 7): not even looked at for a detail.
    check("the holder is killed: the owner has it still", there(SECOND))
    ran = atoll("show", "--json")
    seen = [f for f in document(ran)["functions"] if f["address"] == SECOND] if ran.returncode == 0 else []
    check("atoll show ends, whatever the kernel holds", len(seen) == 1, ran)
    facts["the override of what the kernel waits for"] = seen[0]["driver_override"] if seen else None
    ran = atoll("recover")
    check("recover takes nothing from it", ran.returncode != 0 and "its owner runs" in ran.stdout, ran)
    end(found)
    check("once it has ended, the device goes", until(lambda: not there(SECOND)), state())
    ran = atoll("recover")
    check("then recover gives the rest back", ran.returncode == 0 and f"{SECOND} is not there" in ran.stdout, ran)
    settled("the holder was killed", without(STATE, SECOND))
    plug(1)


def settled(says: str, wanted: dict[str, object]) -> None:
    """Check that all is as it was, with nothing left to recover."""
    check(f"{says}: drivers are as before", state() == wanted, (wanted, state()))
    ran = atoll("recover")
    check(f"{says}: nothing to recover", ran.returncode == 0 and "Nothing to recover" in ran.stdout, ran)


record_links(GPUS, LINKS)
Path(SPEC).write_text(spec())
STATE = state()
for part in (nobody_has_it, its_owner_has_it, while_it_ends, its_driver_is_taken_off, the_holder_dies):
    part()
