"""One routing step: does traffic that comes from below turn here, towards a peer, or does it go on upwards?

Source of the decision table: PCI Express Base Specification 6.12.1 (ACS redirect, egress control, direct
translated P2P).
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import NamedTuple

from atoll.fabric.answer import Answer, Question
from atoll.fabric.settings import Settings
from atoll.fabric.statement import VENDOR_STATEMENT, stated
from atoll.host.fact import Known
from atoll.host.model import Function, RootRouting
from atoll.pci.acs import AcsFlag

__all__ = ["Bit", "Component", "Traffic", "Turn", "bit", "contradicting", "turn"]


class Traffic(StrEnum):
    """Kinds of packets that routing tells apart."""

    UNTRANSLATED = "untranslated request"
    TRANSLATED = "translated request"
    COMPLETION = "completion"


class Component(StrEnum):
    """The component in which a packet may turn."""

    SWITCH = "switch"
    """A downstream port, towards the other ports of its switch."""
    DEVICE = "device"
    """A function, towards the other functions of its device."""
    ROOT = "root complex"
    """A root port or integrated endpoint, towards the rest of the root complex."""


class Bit(Enum):
    """The state of an ACS control bit."""

    ON = "on"
    OFF = "off"
    ABSENT = "not implemented"
    """The capability is there without this bit: the component does no such routing."""
    STATED = "on, by the vendor's statement"
    NO_ACS = "no ACS capability"
    UNREAD = "not read"


class Turn(NamedTuple):
    """Whether traffic turns: ``BLOCKED`` (it does not), ``POSSIBLE`` or ``DIRECT``."""

    answer: Answer
    because: str
    question: Question | None = None
    """The open question behind ``POSSIBLE``, None where a fact was not read."""
    assumption: str | None = None
    """What ``BLOCKED`` rests on, where it is not what a register says."""
    ends: bool | None = False
    """Of ``BLOCKED``: the traffic ends here, otherwise it goes on upwards; None: either."""
    copied: bool = False
    """Whether what turns is a copy that Multicast makes."""


def bit(function: Function, settings: Settings, flag: AcsFlag) -> Bit:
    """Return the state of one ACS bit of a function under the given settings."""
    if not isinstance(function.acs, Known):
        return Bit.UNREAD
    # int's own ``&``: an enum's makes a member of what is left, of which only whether it is nothing matters here.
    if function.acs.value is None:
        if not int.__and__(stated(function), flag):
            return Bit.NO_ACS
        return Bit.UNREAD if function.address in settings.perhaps_open else Bit.STATED
    if not int.__and__(function.acs.value.capability, flag):
        return Bit.ABSENT
    control = settings.acs.get(function.address)
    if control is None:
        return Bit.UNREAD
    return Bit.ON if int.__and__(control, flag) else Bit.OFF


def turn(
    function: Function,
    settings: Settings,
    traffic: Traffic,
    component: Component,
    *,
    egress: int | None = None,
    routing: RootRouting | None = None,
) -> Turn:
    """Say whether traffic turns at ``function`` towards a peer.

    ``function`` is the port or function that decides (the one that the packet came up through or from),
    ``egress`` the peer's port or function number (the bit of the egress control vector; None unknown),
    ``routing`` what is known of the root complex.
    """
    at = str(function.address)
    if traffic is Traffic.TRANSLATED and bit(function, settings, AcsFlag.DT) is Bit.ON:
        return _through(component, routing, f"DirectTrans+ at {at}")
    flag, word = (AcsFlag.CR, "CmpltRedir") if traffic is Traffic.COMPLETION else (AcsFlag.RR, "ReqRedir")
    state = bit(function, settings, flag)
    if traffic is not Traffic.COMPLETION and bit(function, settings, AcsFlag.EC) is Bit.ON:
        return _egress(function, settings, component, state, egress, routing)
    match state:
        case Bit.ON:
            return Turn(Answer.BLOCKED, f"{word}+ at {at}")
        case Bit.STATED | Bit.ABSENT if component is Component.ROOT and routing is RootRouting.DIRECT:
            because = f"{at} is not known to route to peers, but its root complex is stated to route between its ports"
            return Turn(Answer.POSSIBLE, because)
        case Bit.STATED:
            because = f"{at} does no such routing, its vendor says"
            return Turn(Answer.BLOCKED, because, assumption=VENDOR_STATEMENT)
        case Bit.ABSENT if (other := contradicting(function, settings)) is not None:
            because = f"{at} has {other}, which only routing to peers needs, without {word}"
            if component is Component.ROOT:
                return _through(component, routing, because)
            return Turn(Answer.POSSIBLE, because)
        case Bit.ABSENT:
            return Turn(Answer.BLOCKED, f"{at} has ACS without {word}: it does no such routing")
        case Bit.OFF:
            return _through(component, routing, f"{word}- at {at}")
        case Bit.UNREAD:
            if component is Component.ROOT and routing in (RootRouting.TRANSLATED, RootRouting.NONE):
                return _through(component, routing, f"ACS of {at} not read")
            return Turn(Answer.POSSIBLE, f"ACS of {at} not read")
        case Bit.NO_ACS:
            if component is Component.DEVICE:
                return Turn(
                    Answer.POSSIBLE, f"{at} is a function of a device without ACS", question=Question.MULTIFUNCTION
                )
            return _through(component, routing, f"{at} has no ACS")


_PEER_BITS = (
    (AcsFlag.EC, "EgressCtrl"),
    (AcsFlag.RR, "ReqRedir"),
    (AcsFlag.CR, "CmpltRedir"),
    (AcsFlag.DT, "DirectTrans"),
)
"""What is there for routing to peers only. Whoever does that has to be able to redirect requests and completions."""


def contradicting(function: Function, settings: Settings) -> str | None:
    """Return a bit that a function has implemented for routing to peers, where it lacks one that redirects.

    Who routes requests to peers routes completions to them, too: what is there for requests only tells of both.
    """
    for flag, word in _PEER_BITS:
        if bit(function, settings, flag) not in (Bit.ABSENT, Bit.NO_ACS):
            return word
    return None


def _through(component: Component, routing: RootRouting | None, because: str) -> Turn:
    """What happens to traffic that nothing at the port redirects."""
    if component is not Component.ROOT:
        return Turn(Answer.DIRECT, because)
    match routing:
        case RootRouting.TRANSLATED:
            return Turn(Answer.BLOCKED, "this platform's host bridge translates every inbound request")
        case RootRouting.NONE:
            return Turn(Answer.BLOCKED, "this root complex does not route between its ports")
        case RootRouting.DIRECT:
            return Turn(Answer.DIRECT, f"{because}; this root complex routes between its ports")
        case None:
            return Turn(
                Answer.POSSIBLE,
                f"{because}; whether the root complex routes between its ports is not known",
                question=Question.ROOT_COMPLEX,
            )


def _egress(
    function: Function,
    settings: Settings,
    component: Component,
    redirect: Bit,
    egress: int | None,
    routing: RootRouting | None,
) -> Turn:
    """The matrix of RR and EC: a set bit of the vector redirects (with RR) or blocks, a clear one is direct."""
    at = str(function.address)
    vector = settings.egress.get(function.address)
    if vector is None or egress is None:
        if component is not Component.ROOT or routing is RootRouting.DIRECT:
            return Turn(Answer.POSSIBLE, f"EgressCtrl+ at {at}, and its vector or the peer's number was not read")
        return _through(component, routing, f"EgressCtrl+ at {at} with a vector that was not read")
    if vector >> egress & 1:
        if redirect is Bit.ON:
            return Turn(Answer.BLOCKED, f"EgressCtrl+ at {at} redirects towards port {egress}")
        # Where the root complex routes nothing to peers, there may be nothing to block.
        ends = True if component is not Component.ROOT or routing is RootRouting.DIRECT else None
        return Turn(Answer.BLOCKED, f"EgressCtrl+ at {at} blocks towards port {egress}", ends=ends)
    return _through(component, routing, f"EgressCtrl+ at {at} leaves port {egress} open")
