"""Several groups in one line of prose: what is clear is read, what is not is said."""

from __future__ import annotations

from time import process_time

import pytest

from atoll.errors import InputError
from host.records.paste import groups_of, host_of


@pytest.mark.parametrize(
    "line",
    [
        "Group 1: 01:00.0 and 01:00.1, Group 2: 02:00.0",
        "group 1 has 01:00.0 and 01:00.1, group 2 has 02:00.0",
        "IOMMU group 1 contains 01:00.0, 01:00.1; IOMMU group 2 contains 02:00.0",
        "Group 1: 01:00.0, 01:00.1, IOMMU Group 2 02:00.0",
        "IOMMU group 1 contains 01:00.0 and 01:00.1; IOMMU group 2 contains 02:00.0.",
        "IOMMU group 1 has 01:00.0 and 01:00.1.\nIOMMU group 2 has 02:00.0.",
    ],
)
def test_clear(line: str) -> None:
    host = host_of(f"{line}\n")
    assert groups_of(host) == {1: ["01:00.0", "01:00.1"], 2: ["02:00.0"]}
    assert not any("groups" in gap.what and "1" in gap.what for gap in host.gaps)


@pytest.mark.parametrize("word", ["moved from", "was in", "formerly part of", "to"])
def test_words_that_tell_of_another_group(word: str) -> None:
    line = f"IOMMU Group 1: 01:00.0 {word} IOMMU Group 5: 02:00.0\n"
    with pytest.raises(InputError, match="names IOMMU groups"):
        host_of(line)
    host = host_of(f"{line}\nIOMMU Group 7: 03:00.0\n")
    assert groups_of(host) == {7: ["03:00.0"]}
    assert any("1, 5" in gap.what for gap in host.gaps)


def test_what_was_not_understood_is_said() -> None:
    host = host_of("01:00.0 is in IOMMU group 1, 02:00.0 in IOMMU group 2\nIOMMU Group 7: 03:00.0\n")
    assert groups_of(host) == {7: ["03:00.0"]}
    assert any("1, 2" in gap.what for gap in host.gaps)


@pytest.mark.parametrize(
    "line",
    [
        "IOMMU group 18: 08:00.0; 09:00.0 is in group 19",
        "IOMMU group 18: 08:00.0 and 09:00.0 (group 19)",
        "IOMMU group 18: 08:00.0, 09:00.0 -> group 19",
        "IOMMU group 18: 08:00.0, 09:00.0 is elsewhere",
        "IOMMU group 18:\n\t08:00.0, 09:00.0 is in group 19",
    ],
)
def test_a_function_that_the_line_puts_elsewhere_is_none_of_the_group(line: str) -> None:
    host = host_of(f"{line}\n")
    assert groups_of(host) == {18: ["08:00.0"]}
    assert any("18" in gap.what for gap in host.gaps)


@pytest.mark.parametrize("words", ["no longer has", "does not contain", "is without"])
def test_a_function_that_a_group_has_not(words: str) -> None:
    host = host_of(f"IOMMU group 18 {words} 08:00.0\nIOMMU group 7: 03:00.0\n")
    assert groups_of(host) == {7: ["03:00.0"]}
    assert any("18" in gap.what for gap in host.gaps)


def test_blanks_between_groups_take_no_time() -> None:
    """Their square took 10 s."""
    start = process_time()
    with pytest.raises(InputError):
        host_of(f"group 1{' ' * 4000}x\n" * 100)
    assert process_time() - start < 5
