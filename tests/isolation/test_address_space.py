"""Whether two functions are in one I/O address space."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import at, endpoint, machine, scene

from atoll.fabric.answer import Answer
from atoll.fabric.settings import Domain, DomainKind
from atoll.isolation.address_space import shared_space
from atoll.pci.header import Command

ONE, OTHER = at("01:00.0"), at("02:00.0")
USER = Domain(DomainKind.TRANSLATED, "process 7", "held open by vmm (7)", certain=True)


def shared(one: Domain, other: Domain, *, groups: tuple[int, int] = (1, 2), masters: bool = True) -> Answer:
    found = scene(machine(endpoint("01:00.0", group=groups[0]), endpoint("02:00.0", group=groups[1])))
    command = {**found.settings.command, ONE: Command.MASTER if masters else Command(0)}
    settings = replace(found.settings, domain={ONE: one, OTHER: other}, command=command)
    return shared_space(found.topology, settings, ONE, OTHER).answer


def test_a_group_has_one_space_whatever_its_domain() -> None:
    assert shared(USER, USER, groups=(1, 1)) is Answer.DIRECT
    assert shared(USER, USER._replace(space="process 8"), groups=(1, 1)) is Answer.DIRECT


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (USER, Answer.DIRECT),
        (USER._replace(certain=False), Answer.POSSIBLE),
        (USER._replace(space="process 8"), Answer.BLOCKED),
        (Domain(DomainKind.IDENTITY, "group 2", ""), Answer.BLOCKED),
        (Domain(DomainKind.UNKNOWN, "", "not read"), Answer.POSSIBLE),
    ],
)
def test_of_two_groups_the_spaces_decide(other: Domain, expected: Answer) -> None:
    assert shared(USER, other) is expected


def test_what_sends_nothing_shares_nothing_that_was_not_read() -> None:
    unread = Domain(DomainKind.UNKNOWN, "", "not read")
    assert shared(USER, unread, masters=False) is Answer.BLOCKED
    assert shared(USER, USER, masters=False) is Answer.DIRECT
