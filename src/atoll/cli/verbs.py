"""The table of verbs and options: parsing and help come from here."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["COMMON", "VERBS", "Argument", "Verb"]


class Argument(NamedTuple):
    """An argument or option, in the words of :meth:`argparse.ArgumentParser.add_argument`."""

    names: tuple[str, ...]
    help: str
    metavar: str | None = None
    nargs: str | None = None
    choices: tuple[str, ...] = ()
    default: str | None = None
    flag: bool = False
    repeatable: bool = False
    required: bool = False

    @property
    def takes_value(self) -> bool:
        """Whether it is an option followed by a value."""
        return self.names[0].startswith("-") and not self.flag

    def keywords(self) -> dict[str, Any]:
        """Return what argparse wants beside the names."""
        words: dict[str, Any] = {"help": self.help}
        if self.flag:
            return {**words, "action": "store_true"}
        words |= {"default": self.default}
        if self.metavar:
            words["metavar"] = self.metavar
        if self.nargs:
            words["nargs"] = self.nargs
        if self.choices:
            words["choices"] = self.choices
        if self.repeatable:
            words["action"] = "append"
        if self.required:
            words["required"] = True
        return words


class Verb(NamedTuple):
    """One verb; its code is ``run(options)`` in ``atoll.cli.<module>``."""

    name: str
    summary: str
    module: str
    arguments: tuple[Argument, ...] = ()


COMMON = (
    Argument(
        ("--host",),
        "the machine: live (the default), a folder or an archive that holds sys/, a text that lspci or another "
        "program printed (- is standard input), a twin's file, or twin:NAME[:KERNEL] for a fresh throw-away one; "
        "given several times, records of one machine",
        metavar="HOST",
        repeatable=True,
    ),
    Argument(
        ("--policy",),
        "how open questions are taken: strict (the default) proves nothing on them, linux as Linux assumes "
        "when it forms groups, trusted as vendors promise",
        choices=("strict", "linux", "trusted"),
        default="strict",
    ),
    Argument(("--json",), "print one versioned JSON document", flag=True),
    Argument(("-v", "--verbose"), "tell more: what was read, what each finding rests on", flag=True),
)

_SPEC = Argument(("spec",), "the cluster file (TOML; - is standard input)", metavar="SPEC")
_DRY = Argument(("--dry-run",), "check and print, change nothing", flag=True)
_FILE = Argument(("file",), "the twin's file", metavar="FILE")
_DEVICE = Argument(("device",), "a function's address", metavar="DEVICE")


def _register(form: str) -> tuple[Argument, ...]:
    """The options that name a register, of which one is given."""
    return (
        Argument(("--config",), "a dword of configuration space", metavar=form),
        Argument(("--bar0",), "a dword behind BAR0", metavar=form),
    )


VERBS = (
    Verb("show", "the functions with their groups, drivers, links, and what to know about each", "show"),
    Verb(
        "groups",
        "the kernel's IOMMU groups, recorded and predicted; lies, doubts, costs",
        "groups",
        (
            Argument(
                ("--format",),
                "report (the default), or forum: the groups alone, as the usual shell loop over lspci prints them",
                choices=("report", "forum"),
                default="report",
            ),
        ),
    ),
    Verb(
        "explain",
        "why A and B share a group or reach one another, hop by hop; what would change it",
        "explain",
        (
            Argument(("a",), "a function: its address, its device's (01:00), its ids, or gpu[0]", metavar="A"),
            Argument(("b",), "another; without it, whom A shares a group with and reaches", metavar="B", nargs="?"),
        ),
    ),
    Verb("atoms", "what could be isolated, and with which controls", "atoms"),
    Verb(
        "prove",
        "proof or counterexample: that clusters are isolated, now and as handed over; resilience",
        "prove",
        (_SPEC, Argument(("--after",), "judge the moment after a plan's steps", metavar="PLAN")),
    ),
    Verb(
        "plan",
        "the steps that isolate clusters, what they cost, what they cannot achieve",
        "plan",
        (_SPEC, Argument(("-o", "--output"), "write the plan to a file as well", metavar="FILE")),
    ),
    Verb(
        "apply",
        "carry it out, verify each step, prove what came of it",
        "apply",
        (Argument(("spec",), "a cluster file, or a plan made for this host", metavar="SPEC|PLAN"), _DRY),
    ),
    Verb(
        "hold",
        "open clusters' devices, cut, keep them so across resets, hand them to their owners; give back at the end",
        "hold",
        (
            Argument(("spec",), "the cluster file (TOML); it stays until ended", metavar="SPEC", nargs="?"),
            _DRY,
            Argument(("--interval",), "microseconds between looks at a device (the default: 250)", metavar="US"),
            Argument(("--grace",), "seconds for which owners are waited for at the end (30)", metavar="SECONDS"),
            Argument(("--state",), "instead: how the clusters stand that are held here", flag=True),
            Argument(("--proof",), "instead: what the holder proves now", flag=True),
            Argument(("--stop",), "instead: end the holder, as SIGTERM does", flag=True),
        ),
    ),
    Verb("release", "give the devices back and undo what can be undone", "release", (_SPEC, _DRY)),
    Verb(
        "recover",
        "after a run that died: undo what it left half done, or complete it; say what remains",
        "recover",
        (_DRY,),
    ),
    Verb(
        "capture",
        "record the host in an archive, to be read elsewhere and later: atoll show --host FILE",
        "capture",
        (
            Argument(("file",), "the archive to write (a tar.xz)", metavar="FILE"),
            Argument(
                ("--redact",),
                "replace serial numbers, UUIDs, MAC addresses, disk identifiers, gateways and the host's name, the "
                "same by the same",
                flag=True,
            ),
            Argument(("--force",), "replace FILE if it is there", flag=True),
            Argument(("--time",), "write down when it was taken", flag=True),
        ),
    ),
    Verb(
        "iova",
        "usable IOVA ranges of each cluster, what peers pollute, conflicts with a guest's memory",
        "iova",
        (
            _SPEC,
            Argument(("--guest-memory",), "how much memory the guest has: 64G", metavar="SIZE"),
            Argument(
                ("--machine",),
                "its QEMU machine type: q35 (the default on x86), i440fx, microvm, virt (on Arm), pseries (on POWER), "
                "or with a version: pc-q35-7.0, pc-q35-rhel9.4.0; or what else runs it: cloud-hypervisor, crosvm (both "
                "on x86), firecracker",
                metavar="TYPE",
            ),
            Argument(
                ("--cpu",),
                "whose processor it sees (the default: the host's; 32-bit models of AMD's count as intel)",
                choices=("intel", "amd"),
            ),
            Argument(("--max-ram-below-4g",), "the machine option of that name: 1G", metavar="SIZE"),
            Argument(
                ("--max-memory",),
                "with all that may be plugged in later (QEMU's maxmem; elsewhere all sizes together): 512G",
                metavar="SIZE",
            ),
            Argument(("--memory-slots",), "for modules plugged in later (QEMU's slots)", metavar="N"),
            Argument(("--pci-hole64-size",), "the option of that name of its host bridge: 1T", metavar="SIZE"),
            Argument(("--phys-bits",), "its processor's bits of physical address: 46", metavar="N"),
        ),
    ),
    Verb("doctor", "what on this host helps or hinders isolation; never writes", "doctor"),
    Verb("demo", "an AC922's four GPUs given to two tenants, on a simulated machine", "demo"),
    Verb("twin list", "the machines that can be simulated", "twin_list"),
    Verb(
        "twin new",
        "make a simulated machine in a file",
        "twin_new",
        (
            Argument(("name",), "one of `atoll twin list`", metavar="NAME"),
            _FILE,
            Argument(("--kernel",), "the Linux it runs", metavar="K"),
            Argument(("--without-links",), "leave out every record of its links", flag=True),
        ),
    ),
    Verb(
        "twin reset",
        "reset a device",
        "twin_reset",
        (_FILE, _DEVICE, Argument(("--method",), "how: bus, flr, pm, …", metavar="METHOD", default="bus")),
    ),
    Verb(
        "twin event",
        "let something happen to devices",
        "twin_event",
        (
            _FILE,
            Argument(
                ("kind",),
                "open, close, vm-start, vm-reset, vm-stop, kill (of who has the devices open), suspend or reboot",
                metavar="KIND",
                choices=("open", "close", "vm-start", "vm-reset", "vm-stop", "kill", "suspend", "reboot"),
            ),
            Argument(("devices",), "addresses", metavar="DEVICE", nargs="*"),
        ),
    ),
    Verb(
        "twin attack",
        "let A try to access B in every way there is, and tell what got through",
        "twin_attack",
        (
            _FILE,
            Argument(("a",), "the attacker's address", metavar="A"),
            Argument(("b",), "the target's address", metavar="B"),
        ),
    ),
    Verb("twin peek", "read a register of a device", "twin_peek", (_FILE, _DEVICE, *_register("OFF"))),
    Verb(
        "twin poke",
        "write a register of a device behind everyone's back",
        "twin_peek",
        (_FILE, _DEVICE, *_register("OFF=VALUE")),
    ),
)
"""In the order in which help lists them. ``atoll`` alone is the first."""
