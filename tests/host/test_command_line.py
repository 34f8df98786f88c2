"""The kernel's command line, word by word as the kernel takes it."""

from __future__ import annotations

import pytest

from atoll.host.command_line import options, parameters, truth, values


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a b=c\tpci=noats \n", ("a", "b=c", "pci=noats")),
        ('"intremap=nosid" x', ("intremap=nosid", "x")),
        ('pci="noats,nommconf" y', ("pci=noats,nommconf", "y")),
        ('dyndbg="file a.c +p pci=noats z" b', ("dyndbg=file a.c +p pci=noats z", "b")),
        ('a"b c"d e', ('a"b c"d', "e")),
        ('x="never ends pci=noats', ("x=never ends pci=noats",)),
        ("a -- pci=noats", ("a",)),
        ('a "--" pci=noats', ("a",)),
        ('a " -- " pci=noats', ("a", " __ ", "pci=noats")),
        ("arm-smmu.disable_bypass=a-b intel-iommu=off", ("arm_smmu.disable_bypass=a-b", "intel_iommu=off")),
        ("", ()),
        (" \n", ()),
    ],
)
def test_words_are_those_that_the_kernel_takes(line: str, words: tuple[str, ...]) -> None:
    assert parameters(line) == words


def test_a_list_is_of_all_its_times() -> None:
    line = 'pci=noats,nommconf quiet pci="realloc" pcie_aspm=off -- pci=nomsi'
    assert options(line, "pci") == ("noats", "nommconf", "realloc")
    assert values(line, "pci") == ("noats,nommconf", "realloc")
    assert options(line, "iommu") == ()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *((word, True) for word in ("1", "y", "Yes", "t", "on", "ON", "enable")),
        *((word, False) for word in ("0", "n", "No", "f", "off", "OFF", "disable")),
        *((word, None) for word in ("", "o", "2", "x")),
    ],
)
def test_truth_values_go_by_their_first_letters(word: str, expected: bool | None) -> None:
    assert truth(word) is expected
