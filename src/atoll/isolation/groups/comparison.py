"""The recorded groups held against those that the kernel's own rules would form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from atoll.host.fact import Unknown
from atoll.host.model import Host
from atoll.isolation.groups.prediction import Prediction
from atoll.pci.address import Address

__all__ = ["Comparison", "Difference", "compare"]


class Difference(NamedTuple):
    """A function that the record groups otherwise than the kernel's rules would."""

    function: Address
    recorded: tuple[Address, ...]
    """Its group as recorded; empty where it has none."""
    predicted: tuple[Address, ...]


class Comparison(NamedTuple):
    """What a record tells of the groups, beside a prediction. All in address order."""

    recorded: tuple[tuple[Address, ...], ...]
    """The groups as this kernel formed them."""
    numbers: tuple[int, ...]
    """Of each of these."""
    unseen: frozenset[Address]
    """Functions of which the record shows the group and nothing more: no rule can be held against it."""
    differences: tuple[Difference, ...]
    """About functions of which the record shows their group, and more than that."""
    certain: tuple[Difference, ...]
    """Those of which the prediction rests on no fact that is not known."""


def compare(host: Host, prediction: Prediction) -> Comparison | None:
    """Return the recorded groups beside the predicted; None where the groups were not read."""
    if isinstance(host.groups, Unknown):
        return None
    groups = sorted((tuple(sorted(group.members)), n) for n, group in host.groups.value.items() if group.members)
    recorded = tuple(members for members, _ in groups)
    unseen = frozenset(address for group in recorded for address in group if address not in host.functions)
    untold = frozenset(address for address, function in host.functions.items() if isinstance(function.group, Unknown))
    here, there = _by_function(recorded), _by_function(prediction.groups)
    found = []
    for address in sorted((here.keys() | there.keys()) - unseen - untold):
        one, other = here.get(address, ()), there.get(address, ())
        # A function whose group the record does not tell may be in either: it makes no difference.
        if one != other and set(one) - unseen != set(other) - untold:
            found.append(Difference(address, one, other))
    certain = tuple(difference for difference in found if not prediction.open_about(difference.function))
    return Comparison(recorded, tuple(number for _, number in groups), unseen, tuple(found), certain)


def _by_function(groups: tuple[tuple[Address, ...], ...]) -> Mapping[Address, tuple[Address, ...]]:
    return {address: group for group in groups for address in group}
