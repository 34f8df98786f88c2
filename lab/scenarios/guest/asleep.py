"""Inside the guest: two clusters below ports that would lose their ACS asleep, which are seen to lose it by hand."""

import os
from pathlib import Path

from verbs import DEVICES, atoll

import labguest
from atoll.act.live import LiveMachine
from atoll.act.steps.ports import read_control
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from labguest import check, checks, until

PORTS = ("0000:00:10.0", "0000:00:10.1")
CLOSED = AcsFlag.SV | AcsFlag.RR | AcsFlag.CR | AcsFlag.UF
REDIRECTING = AcsFlag.RR | AcsFlag.CR
SPEC = """[cluster.red]
devices = ["0000:01:00.0"]
handover = "vfio"
[cluster.blue]
devices = ["0000:02:00.0"]
handover = "vfio"
"""


def power(port: str, name: str) -> Path:
    """Return a file of a port's power management."""
    return DEVICES / port / "power" / name


def acs() -> list[AcsFlag]:
    """Return what is set at the ports."""
    return [read_control(LiveMachine(), Address.parse(port)) for port in PORTS]


def statuses() -> list[str]:
    """Return whether the ports sleep, as the kernel says."""
    return [power(port, "runtime_status").read_text().strip() for port in PORTS]


def let(word: str) -> None:
    """Let the ports sleep (``auto``) or keep them awake (``on``)."""
    for port in PORTS:
        power(port, "control").write_text(word)


before = acs(), [power(port, "control").read_text() for port in PORTS]
check("the ports do not redirect", not any(control & REDIRECTING for control in before[0]), before)
Path("/spec.toml").write_text(SPEC)
ran = atoll("apply", "/spec.toml")
check("applied", ran.returncode == 0, ran)
check("the ports are closed", acs() == [CLOSED, CLOSED], acs())
check("they are kept awake", [power(port, "control").read_text().strip() for port in PORTS] == ["on", "on"])
let("auto")
check("let by hand, they sleep: nobody has open what is below", until(lambda: "active" not in statuses()), statuses())
asleep = acs()
let("on")
woken = acs()
check("woken, they have what the kernel was told at boot", not any(control & REDIRECTING for control in woken), woken)
ran = atoll("prove", "/spec.toml")
check("that is no proof any more: what a root complex routes is not known", ran.returncode == 3, ran)
ran = atoll("release", "/spec.toml")
check("released", ran.returncode == 0, ran)
after = acs(), [power(port, "control").read_text() for port in PORTS]
check("ports are as before", after == before, (before, after))
facts = {"asleep": [control.lspci for control in asleep], "woken": [control.lspci for control in woken]}
labguest.answer({"release": os.uname().release, "checks": checks, "facts": facts})
