"""Inside the guest: verbs, each run in a process of its own, to be killed in the middle or not."""

from collections.abc import Callable, Sequence

from killed_host import GPUS, must
from killing import Ended, Observed, Points, killed_at
from tenant import Tenant

from atoll.act.executor import execute
from atoll.act.live import LiveMachine
from atoll.act.recover import recover
from atoll.act.release import release
from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.errors import AtollError
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.guard.holding import Holding
from atoll.guard.keepers import Keepers
from atoll.guard.only_holder import the_only_holder
from atoll.host import read_host
from atoll.host.model import Host
from atoll.isolation.proof import Verdict
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan

Act = Callable[[LiveMachine], str]


def planned(spec: str) -> tuple[Host, Plan]:
    """Return the host and the plan for a cluster file."""
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


def holding(text: str, tenants: Sequence[Tenant] = ()) -> Act:
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
    """Return the release of a cluster file."""

    def act(machine: LiveMachine) -> str:
        host = read_host(machine, registers=registers)
        return "; ".join(release(machine, host, read_spec(spec, host, name="spec"), spec=spec).left)

    return act


def recovering(machine: LiveMachine) -> str:
    """Recover; return what became of each run."""
    return "; ".join(f"{one.fate} {one.left or ''}" for one in recover(machine).runs)


def run(act: Act, *, at: int | None = None, tokens: int = 0) -> Ended:
    """Run it; with ``tokens``, whoever gets a device runs on it from then on."""
    owners = {address: tokens + number for number, address in enumerate(GPUS)}

    def inside(points: Points) -> tuple[int, str]:
        try:
            return 0, act(Observed(points, keepers=Keepers()))
        except AtollError as error:
            return error.exit_code, error.message

    return killed_at(at, inside, owners=owners, hands_over=bool(tokens))
