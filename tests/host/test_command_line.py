"""The kernel's command line, word by word as the kernel takes it."""

from __future__ import annotations

import pytest

from atoll.host.command_line import parameters


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
