"""Everything that can happen to a host with given owners, with its trigger and scope."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from atoll.events.event import Event, EventKind
from atoll.events.reset import ResetKind, kind_of_method
from atoll.events.trigger import Trigger
from atoll.fabric.topology import Topology
from atoll.host.fact import Known
from atoll.host.model import Function
from atoll.pci.address import Address

__all__ = ["events", "reset_kinds"]


def reset_kinds(function: Function) -> tuple[ResetKind, ...]:
    """Return the kinds of reset a function can get by itself, the first being what the kernel does by default.

    Where the methods were not read, or there are none, a bus reset is taken: it undoes most, and vfio-pci
    falls back to it.
    """
    if isinstance(function.reset_methods, Known) and function.reset_methods.value:
        kinds = [kind_of_method(method) for method in function.reset_methods.value]
        return tuple(dict.fromkeys(kinds))
    return (ResetKind.BUS,)


def events(topology: Topology, owners: Mapping[str, Sequence[Address]]) -> tuple[Event, ...]:
    """Return every event, tenants' first, in address order. ``owners`` are the untrusted clusters' functions."""
    named = frozenset(address for functions in owners.values() for address in functions)
    return (*_tenants(topology, owners), *_host(topology, named), *_machine(topology))


def _tenants(topology: Topology, owners: Mapping[str, Sequence[Address]]) -> Iterator[Event]:
    for functions in owners.values():
        members = tuple(sorted(functions))
        kinds: dict[ResetKind, None] = {}
        for address in members:
            for kind in reset_kinds(topology.functions[address]):
                kinds[kind] = None
                yield Event(EventKind.GUEST_RESET, Trigger.TENANT, (address,), address, kind)
            # Closing the last descriptor falls back to a bus reset where the function reset did not succeed.
            yield Event(EventKind.VFIO_CLOSE, Trigger.TENANT, (address,), address, ResetKind.BUS)
        for kind in kinds:
            yield Event(EventKind.GUEST_REBOOT, Trigger.TENANT, members, None, kind)


def _host(topology: Topology, named: AbstractSet[Address]) -> Iterator[Event]:
    for address, function in topology.functions.items():
        if function.is_port:
            below = topology.below.get(address, ())
            if below:
                yield Event(EventKind.SUBORDINATE_RESET, Trigger.HOST, below, address, ResetKind.BUS)
            yield Event(EventKind.PORT_REBIND, Trigger.HOST, (address,), address, None)
            yield Event(EventKind.REMOVE_RESCAN, Trigger.HOST, (address, *below), address, None)
        else:
            for kind in reset_kinds(function):
                # With it go its virtual functions (Base Specification 9.2.1.2).
                hit = (address, *topology.virtual.get(address, ()))
                yield Event(EventKind.FUNCTION_RESET, Trigger.HOST, hit, address, kind)
            if address not in named:
                yield Event(EventKind.DRIVER_BIND, Trigger.HOST, (address,), address, None)
            yield Event(EventKind.REMOVE_RESCAN, Trigger.HOST, (address,), address, None)


def _machine(topology: Topology) -> Iterator[Event]:
    everything = tuple(topology.functions)
    functions = topology.functions
    ports = [(port, below) for port, below in sorted(topology.below.items()) if functions[port].is_port]
    for address, below in ports:
        yield Event(EventKind.ERROR_RECOVERY, Trigger.MACHINE, below, address, ResetKind.BUS)
    if everything:
        yield Event(EventKind.SUSPEND, Trigger.MACHINE, everything, None, ResetKind.POWER)
        yield Event(EventKind.POWER_LOSS, Trigger.MACHINE, everything, None, ResetKind.POWER)
    # Last, for not every port has a slot: what any machine meets with is the better example.
    for address, below in ports:
        yield Event(EventKind.HOT_PLUG, Trigger.MACHINE, below, address, ResetKind.POWER)
