"""The answer to "can it reach it", and the witness that shows how."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NamedTuple

__all__ = ["BLOCKED", "Answer", "Finding", "Hop", "Policy", "Question", "worst"]


class Answer(IntEnum):
    """What the hardware lets through, from best to worst."""

    BLOCKED = 0
    """No path."""
    IOMMU = 1
    """Arrival depends on the mappings of the sender's requester ids only."""
    POSSIBLE = 2
    """What the specification leaves open, or a fact that was not read, decides."""
    DIRECT = 3
    """Some packet arrives without translation for its sender."""

    @property
    def word(self) -> str:
        """The answer as it is printed."""
        return self.name.lower()


class Policy(StrEnum):
    """How open questions are taken."""

    STRICT = "strict"
    """What is open is possible: for proofs."""
    LINUX = "linux"
    """As Linux assumes when it forms groups: for predictions."""
    TRUSTED = "trusted"
    """Root complexes and multifunction devices without ACS are taken as isolating, ATS devices as honest."""


class Question(StrEnum):
    """What the specification leaves open; each becomes an assumption where a policy takes it as isolating."""

    ROOT_COMPLEX = "root-complex"
    """Whether the root complex routes between its root ports and integrated endpoints."""
    MULTIFUNCTION = "multifunction-without-acs"
    """Whether the functions of a device without ACS reach one another inside it."""
    PORT_BAR = "port-bar"
    """Whether a redirecting port also redirects what targets its own BARs."""
    VIRTUAL_FUNCTION = "virtual-function"
    """Whether virtual functions reach one another where the physical function's ACS does not say."""
    HONEST_ATS = "honest-ats"
    """Whether a device sends as translated only what it was told by the IOMMU."""

    def open_under(self, policy: Policy) -> bool:
        """Whether the question stays open under a policy."""
        match policy:
            case Policy.STRICT:
                return True
            case Policy.LINUX:
                return self in (Question.ROOT_COMPLEX, Question.MULTIFUNCTION, Question.HONEST_ATS)
            case Policy.TRUSTED:
                return False


class Hop(NamedTuple):
    """One step of a path: where, over what, and what lets it through (or stops it)."""

    at: str
    via: str
    because: str


class Finding(NamedTuple):
    """An answer with its witness path and the assumptions it rests on (ids)."""

    answer: Answer
    path: tuple[Hop, ...] = ()
    assumptions: frozenset[str] = frozenset()

    def after(self, *hops: Hop) -> Finding:
        """The same finding with hops in front of its path."""
        return self._replace(path=(*hops, *self.path))


BLOCKED = Finding(Answer.BLOCKED)


def worst(*findings: Finding) -> Finding:
    """Return the finding with the worst answer (the first of equals), resting on the assumptions of all."""
    chosen = findings[0]
    assumptions = chosen.assumptions
    for finding in findings[1:]:
        if finding.answer > chosen.answer:
            chosen = finding
        if not finding.assumptions <= assumptions:
            assumptions |= finding.assumptions
    return chosen if assumptions == chosen.assumptions else chosen._replace(assumptions=assumptions)
