"""Inside the guest: operations that a twin has been through, and where this machine comes out otherwise."""

import json
import os
import subprocess
from pathlib import Path

import labguest
from atoll.act.live import LiveMachine
from atoll.act.machine import Lease
from lab.scenarios.operations import differences, perform, visible
from labguest import until

asked = json.loads(Path("/scenario/asked.json").read_text())
machine = LiveMachine(hold=True)
leases: dict[str, Lease] = {}
found: list[dict[str, object]] = []
standing: set[str] = set()


def idle_stays_on() -> None:
    """Load vfio-pci as a twin has it: without it, an idle device of its is put into D3hot."""
    for command in (("rmmod", "vfio_pci"), ("insmod", "/lab/modules/vfio_pci.ko", "disable_idle_d3=1")):
        subprocess.run(("/bin/busybox", *command), check=True)


def compare(number: int, result: str) -> None:
    """Tell what differs from the twin and did not before, once it stays so."""
    expected = asked["expected"][number]
    now: set[str] = set()

    def agrees() -> bool:
        nonlocal now
        now = set(differences(expected["visible"], visible(machine, asked["functions"])))
        return now <= standing

    # Some drivers are bound by a worker, after what asked for it has returned.
    until(agrees)
    told = [] if result == expected["result"] else [f"result: {expected['result']!r}, {result!r}"]
    told += sorted(now - standing)
    standing.clear()
    standing.update(now)
    found.append({"operation": asked["operations"][number - 1] if number else None, "different": told})


idle_stays_on()
compare(0, "ok")
for number, operation in enumerate(asked["operations"], start=1):
    compare(number, perform(machine, leases, operation))
labguest.answer({"release": os.uname().release, "found": found})
