"""What several records of one machine contradict each other about: such a fact is unknown, and both are named.

Design rule 1: two sources that disagree make a fact unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from atoll.host.fact import Fact, Known, Unknown
from atoll.host.gap import Gap
from atoll.host.links.told import CONTRADICTED
from atoll.host.records.merge.fuller import fuller
from atoll.pci.acs import Acs

__all__ = ["DISAGREE", "Disagreements", "agreed", "agreed_by_key", "is_disagreement", "is_disputed"]

_F = TypeVar("_F")
_K = TypeVar("_K")
DISAGREE = "records disagree: "
"""How the reason begins of what two records contradict each other about: no third one settles it."""


@dataclass(slots=True)
class Disagreements:
    """What two records contradict each other about, as gaps."""

    one: str = "one record"
    other: str = "another"
    """What to call the records where a fact does not say where it is from."""
    gaps: list[Gap] = field(default_factory=list)
    earlier: frozenset[str] = frozenset()
    """What records that were merged before contradict each other about."""

    def add(self, what: str, one: Known[Any], other: Known[Any]) -> Unknown:
        """Note what the two say of ``what``, and return what is known of it from then on."""
        if one.source == other.source:
            # The same file of two trees.
            one, other = _of(self.one, one), _of(self.other, other)
        why = f"{_said(one)}, but {_said(other)}"
        self.gaps.append(Gap(what, why, CONTRADICTED))
        return Unknown(f"{DISAGREE}{why}")


def _of(name: str, fact: Known[Any]) -> Known[Any]:
    return replace(fact, source=f"{name}: {fact.source}" if fact.source else name)


def _said(fact: Known[Any]) -> str:
    return f"{fact.source or 'one record'} says {_words(fact.value)}"


def _words(value: object) -> str:
    if isinstance(value, Acs):
        return f"ACS {value.control.lspci}"
    if value is None:
        return "none"
    name = getattr(value, "label", None) or getattr(value, "text", None) or str(value)
    return name if len(name) < 120 else name[:117] + "…"


def is_disagreement(gap: Gap) -> bool:
    """Whether a gap tells what records contradict each other about, links included."""
    return gap.hint == CONTRADICTED


def is_disputed(fact: Fact[Any]) -> bool:
    """Whether a fact is unknown because records contradict each other about it."""
    return isinstance(fact, Unknown) and fact.reason.startswith(DISAGREE)


def agreed(what: str, one: Fact[_F], other: Fact[_F], found: Disagreements) -> Fact[_F]:
    """Return what both records say of one thing, or the one that says it; where they disagree, unknown."""
    for fact in (one, other):
        if is_disputed(fact):
            return fact
    if isinstance(one, Unknown):
        return other if isinstance(other, Known) else one
    if isinstance(other, Unknown):
        return one
    if one.value == other.value:
        return one
    better = fuller(one.value, other.value)
    if better is not None:
        return Known(better, one.source) if better is not other.value else other
    return found.add(what, one, other)


def agreed_by_key(
    what: str, one: Mapping[_K, Fact[_F]], other: Mapping[_K, Fact[_F]], found: Disagreements
) -> dict[_K, Fact[_F]]:
    """Return the facts of both by key; ``what`` is formatted with it."""
    facts = {**other, **one}
    for key in one.keys() & other.keys():
        facts[key] = agreed(what.format(key), one[key], other[key], found)
    return facts
