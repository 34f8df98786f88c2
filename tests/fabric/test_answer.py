"""Answers in order, the worst of findings, and what they rest on."""

from __future__ import annotations

from itertools import permutations

import pytest

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop, worst


def test_order_from_best_to_worst() -> None:
    assert sorted(Answer) == [Answer.BLOCKED, Answer.IOMMU, Answer.POSSIBLE, Answer.DIRECT]
    assert [answer.word for answer in Answer] == ["blocked", "iommu", "possible", "direct"]


@pytest.mark.parametrize("order", tuple(permutations(Answer, 3)))
def test_worst_whatever_the_order(order: tuple[Answer, ...]) -> None:
    assert worst(*(Finding(answer) for answer in order)).answer is max(order)


def test_worst_rests_on_the_assumptions_of_all() -> None:
    """Also those of findings that are better: had they not held, these would be worse."""
    found = worst(Finding(Answer.BLOCKED, (), frozenset({"a"})), Finding(Answer.IOMMU, (), frozenset({"b"})), BLOCKED)
    assert (found.answer, found.assumptions) == (Answer.IOMMU, frozenset("ab"))


def test_worst_takes_the_first_of_equals_with_its_path() -> None:
    hop = Hop("a", "b", "c")
    assert worst(BLOCKED, Finding(Answer.DIRECT, (hop,)), Finding(Answer.DIRECT)).path == (hop,)


def test_hops_in_front() -> None:
    first, last = Hop("1", "", ""), Hop("2", "", "")
    assert Finding(Answer.DIRECT, (last,)).after(first).path == (first, last)
