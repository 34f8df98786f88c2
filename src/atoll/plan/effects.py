"""What steps leave of a host and its settings: the moment ``after PLAN``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from atoll.controls.registry import link_control
from atoll.events.catalogue import reset_kinds
from atoll.events.effect import reset_alone, reset_functions
from atoll.events.reset import ResetKind, kind_of_method
from atoll.fabric.default_domain import default_domain, type_anew
from atoll.fabric.settings import Settings
from atoll.fabric.switching import switched_on
from atoll.fabric.topology import Topology
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import Group, Host
from atoll.isolation.clusters import HOST
from atoll.isolation.handover import in_space_of
from atoll.pci.header import Command
from atoll.plan.step import Step, StepKind

__all__ = ["after_steps"]


def after_steps(
    host: Host, settings: Settings, steps: Iterable[Step], *, allow_assumed: bool = False
) -> tuple[Host, Settings]:
    """Return the host (whose groups rescans change) and the settings that steps lead to, if each does what it says.

    Unless allowed, cuts by a control that is only assumed to work are unknown, as they are where they are read.
    """
    for step in steps:
        host, settings = _after(host, settings, step)
        control = link_control(host.functions[step.device])
        if step.kind is StepKind.CUT_LINKS and control is not None and control.is_assumed:
            settings = settings if allow_assumed else replace(settings, cut={**settings.cut, step.device: None})
    return host, settings


def _after(host: Host, settings: Settings, step: Step) -> tuple[Host, Settings]:
    address = step.device
    function = host.functions[address]
    command = settings.command.get(address)
    match step.kind:
        case StepKind.UNBIND:
            host = _with(host, step, driver=Known(None, "plan"))
        case StepKind.QUIESCE:
            # What was unread stays possible, but for the bit that the step clears and reads back.
            quiet = (command if command is not None else Command.MEMORY) & ~Command.MASTER
            settings = settings.with_command(address, quiet)
        case StepKind.SET_ACS if step.acs is not None:
            settings = settings.with_acs(address, step.acs)
        case StepKind.RESCAN:
            host = _regrouped(host, step)
            if not function.is_port:
                settings = settings.with_domain(address, default_domain(host, host.functions[address]))
        case StepKind.BIND:
            host = _with(host, step, driver=Known(step.driver, "plan"))
            if step.driver is not None and not step.driver.startswith("vfio"):
                settings = switched_on(Topology(host), settings, (address,))
        case StepKind.HAND_OVER:
            settings = switched_on(Topology(host), settings, (address,))
        case StepKind.RESET:
            settings = reset_alone(Topology(host), settings, address, kind_of_method(step.method or "bus"))
        case StepKind.LEASE:
            settings = _held(host, settings, step)
            settings = reset_alone(Topology(host), settings, address, reset_kinds(function)[0])
            settings = reset_functions(Topology(host), settings, (address,), ResetKind.BUS)
        case StepKind.CUT_LINKS:
            control = link_control(function)
            if control is not None:
                before = settings.cut.get(address) or frozenset()
                settings = settings.with_cut(address, before | frozenset(filter(control.names, step.links)))
        case _:
            pass
    return host, settings


def _with(host: Host, step: Step, *, driver: Known[str | None]) -> Host:
    function = replace(host.functions[step.device], driver=driver)
    return replace(host, functions={**host.functions, step.device: function})


def _held(host: Host, settings: Settings, step: Step) -> Settings:
    """The cluster's holder has it open: its group is in the holder's address space, at the NPU too."""
    topology = Topology(host)
    companions = [brick.function for brick in host.npu_bricks if brick.gpu == step.device]
    for address in (step.device, *companions):
        if address is not None and address in host.functions:
            settings = in_space_of(topology, settings, step.cluster or HOST, address)
    return settings


def _regrouped(host: Host, step: Step) -> Host:
    """The function is found again: in a group of its own or with those that the step names."""
    if not isinstance(host.groups, Known):
        return host
    groups = dict(host.groups.value)
    present = {function.address: function.group for function in host.functions.values()}
    others = [present[a] for a in step.group if a != step.device and a in present]
    number = next((fact.value for fact in others if isinstance(fact, Known) and fact.value is not None), None)
    for old, group in groups.items():
        if step.device in group.members:
            groups[old] = replace(group, members=tuple(a for a in group.members if a != step.device))
    if number is None or not set(step.group) >= set(groups[number].members):
        number = max(groups, default=-1) + 1
        groups[number] = Group(number, (step.device,), _new_type(host, step))
    else:
        groups[number] = replace(groups[number], members=tuple(sorted({*groups[number].members, step.device})))
    function = replace(host.functions[step.device], group=Known(number, "plan"), driver_override=Known(None, "plan"))
    return replace(host, groups=Known(groups, "plan"), functions={**host.functions, step.device: function})


def _new_type(host: Host, step: Step) -> Fact[str]:
    """Return the type of the default domain that the kernel makes for a new group."""
    groups = value_of(host.groups, {}).values()
    old = next((group.type for group in groups if step.device in group.members), Unknown("not read"))
    return type_anew(host, old)
