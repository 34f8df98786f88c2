"""``atoll demo``: the machine of the 2019 discussion, given to two tenants."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from atoll.act.executor import execute
from atoll.act.release import release
from atoll.cli.session import new_twin
from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.model import Host
from atoll.isolation.clusters import Clusters
from atoll.isolation.moment import Statement, state
from atoll.pci.address import Address
from atoll.plan.planner import plan
from atoll.plan.selector import gpus
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan
from atoll.report.demo import Stage, Tried, demo_document, stage_lines
from atoll.report.document import dump
from atoll.report.function_links import link_lines, links_by_function
from atoll.report.function_words import group_words
from atoll.report.layout import indent, within, wrap
from atoll.report.show import host_lines
from atoll.report.style import Style, columns_of, style_for
from atoll.twin import Twin

__all__ = ["run"]

MACHINE = "ac922-4gpu"

SPEC = """\
[cluster.red]
devices = ["gpu[0]"]
handover = "{handover}"

[cluster.blue]
devices = ["gpu[1:4]"]
handover = "{handover}"
"""


def run(options: argparse.Namespace) -> int:
    """Show, stage by stage, what atoll says and what attacks return; exit code 1 if they ever disagree."""
    story = _Story()
    if options.json:
        stages = list(story.stages())
        print(dump(demo_document(stages)))
        return 0 if all(stage.agrees for stage in stages) else 1
    with within(columns_of(sys.stdout)):
        return 0 if _told(story, style_for(sys.stdout), verbose=options.verbose) else 1


def _told(story: _Story, style: Style, *, verbose: bool) -> bool:
    """Print the story as it goes; return whether proof and attacks agreed at every stage."""
    print("\n".join(_opening(story.host(), style)))
    agrees = True
    for number, stage in enumerate(story.stages(), start=1):
        print("\n".join(stage_lines(number, stage, story.owner(), style=style, verbose=verbose)), flush=True)
        agrees &= stage.agrees
    print("\n".join(_closing(agrees, style)))
    return agrees


def _opening(host: Host, style: Style) -> list[str]:
    links = links_by_function(host)
    lines = wrap(
        "An IBM AC922, simulated: two POWER9 processors, four V100 GPUs, joined in pairs by NVLink. In 2019 a "
        "kernel patch set tried to let one of them be given to a guest without its neighbours; it was never "
        "merged. Here tenant red gets the first GPU and tenant blue the other three."
    )
    lines += ["", *host_lines(host, style), ""]
    for address in gpus(host):
        lines += [f"  {style.bold(str(address))}  group {group_words(host.functions[address])}"]
        lines += [f"                {note}" for note in link_lines(links.get(address, []), style)]
    lines += ["", "  All of it: atoll show --host twin:ac922-4gpu", ""]
    return [*lines, "  demo.toml:", *indent(SPEC.format(handover="vfio").rstrip().split("\n"), "    ")]


def _closing(agrees: bool, style: Style) -> list[str]:
    verdict = "Proof and attacks agreed at every stage." if agrees else "Proof and attacks DISAGREED."
    return [
        "",
        (style.good if agrees else style.bad)(verdict),
        *wrap(
            f"Try it yourself: atoll twin new {MACHINE} my.twin, then any verb with --host my.twin; this machine: "
            "atoll show, atoll doctor.",
        ),
    ]


@dataclass(slots=True)
class _Story:
    """A throw-away machine, and what happens on it."""

    twin: Twin = field(default_factory=lambda: new_twin(MACHINE))

    def host(self) -> Host:
        return read_host(self.twin, registers=registers)

    def spec(self, handover: str) -> str:
        return SPEC.format(handover=handover)

    def clusters(self, handover: str) -> Clusters:
        return read_spec(self.spec(handover), self.host(), name="demo.toml")

    def owner(self) -> dict[Address, str]:
        return self.clusters("held").owner()

    # -- the scenes

    def stages(self) -> Iterator[Stage]:
        yield from self.with_stock_vfio()
        release(self.twin, self.host(), self.clusters("vfio"))
        yield from self.held()

    def with_stock_vfio(self) -> Iterator[Stage]:
        """Cut first and open then, as everybody would: opening undoes the cuts."""
        red, *blue = self.owner()
        yield self.stage(
            "vfio",
            "As it booted",
            "The kernel puts each GPU into a group of its own. The hardware knows nothing of that: the links are "
            "open, and the firmware left ACS off in the switches.",
            "atoll prove demo.toml",
        )
        made = self.apply("vfio")
        yield self.stage(
            "vfio",
            "Cut and closed, for stock vfio-pci",
            "Links between the tenants are cut at both ends, ACS is switched on, those inside blue are kept. It is "
            "isolated now, and atoll says that it will not last: opening a V100 through stock vfio-pci resets it.",
            "atoll apply demo.toml",
            made,
        )
        for devices in ([red], blue):
            self.twin.event("vm-start", devices)
        yield self.stage(
            "vfio",
            "Both guests started",
            "Each virtual machine opened its devices and reset them. The masks are gone, the links are open again, "
            "and nothing told anybody.",
            "",
        )
        for devices in ([red], blue):
            self.twin.event("vm-stop", devices)

    def held(self) -> Iterator[Stage]:
        """Open first and cut then; and what it takes to undo that."""
        red, other, *_ = self.owner()
        made = self.apply("held")
        yield self.stage(
            "held",
            "Held instead",
            'With handover = "held" atoll opens the devices first, cuts then, and keeps them open: no open or close '
            "comes after the cut.",
            "atoll apply demo.toml",
            made,
        )
        self.twin.reset(red, "bus")
        yield self.stage(
            "held",
            "Red's GPU was reset",
            "A bus reset opened its end of the links. The other end is still cut: that is why both are.",
            f"atoll twin reset my.twin {red} --method bus",
        )
        self.twin.reset(other, "bus")
        yield self.stage(
            "held",
            "And blue's, at the other end",
            "Two resets: both ends are open. The resilience that was printed said so.",
            f"atoll twin reset my.twin {other} --method bus",
        )
        made = self.apply("held")
        yield self.stage(
            "held",
            "Recovered",
            "The same command again closes what the resets have opened, and touches nothing else.",
            "atoll apply demo.toml",
            made,
        )

    # -- what they are made of

    def apply(self, handover: str) -> Plan:
        host = self.host()
        clusters = self.clusters(handover)
        made = plan(Topology(host), present(host), clusters, Policy.STRICT, spec=self.spec(handover))
        execute(self.twin, host, made)
        return made

    def stage(self, handover: str, title: str, told: str, command: str, made: Plan | None = None) -> Stage:
        return Stage(
            title,
            told,
            command,
            self.statement(handover),
            tuple(self.attacks()),
            steps=() if made is None else made.steps,
            bandwidth=() if made is None else made.clusters,
            unachievable=() if made is None else made.unachievable,
        )

    def statement(self, handover: str) -> Statement:
        host = self.host()
        return state(Topology(host), present(host), self.clusters(handover), Policy.STRICT, moment="now")

    def attacks(self) -> Iterator[Tried]:
        owner = self.owner()
        for source in owner:
            for target in owner:
                if source == target:
                    continue
                attack = self.twin.attack(source, target)
                requests = [a for a in attack.attempts if a.delivered and "completion" not in a.kind]
                over = tuple(sorted({_over([hop.via for hop in request.path]) for request in requests}))
                yield Tried(source, target, owner[source] != owner[target], attack.reached, over)


def _over(ways: list[str]) -> str:
    """Return how a packet went, in a word or two."""
    for sign, word in (("link ", "NVLink"), ("across", "the switch"), ("translation", "the host bridge")):
        if any(sign in way.lower() for way in ways):
            return word
    return ways[0] if ways else ""
