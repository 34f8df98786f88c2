"""Lines of capabilities of which the end is lost: what they may have been is not told to be absent."""

from __future__ import annotations

import pytest

from atoll.host.fact import Known, Unknown
from host.records.paste import PORT, one

_ATS = PORT[PORT.index("Address Translation Service") : PORT.rindex("\n\n")]
_ACS = PORT[PORT.index("Access Control Services") : PORT.index("\tKernel driver in use: pcieport")]


@pytest.mark.parametrize("left", ["", "A", "Address", "Address Translation Ser"])
def test_ats_whose_name_is_cut_is_not_off(left: str) -> None:
    """It was told to be absent, and what it lets pass was taken to be translated."""
    assert isinstance(one(PORT.replace(_ATS, left), "01:00.0").ats, Unknown)


@pytest.mark.parametrize("left", ["", "Access Con"])
def test_acs_whose_name_is_cut_is_not_absent(left: str) -> None:
    assert isinstance(one(PORT.replace(_ACS, f"{left}\n")).acs, Unknown)


@pytest.mark.parametrize(("left", "fact"), [("Single Root", "sriov"), ("Multi", "multicast"), ("Process", "pasid")])
def test_others(left: str, fact: str) -> None:
    assert isinstance(getattr(one(PORT.replace("Virtual Channel", left), "01:00.0"), fact), Unknown)
    assert isinstance(getattr(one(PORT, "01:00.0"), fact), Known)


@pytest.mark.parametrize("left", ["[a0] Exp", "[a0] Express", "[a0", "[a0]", ""])
def test_a_type_that_is_cut_is_not_conventional(left: str) -> None:
    text = PORT.replace("[a0] Express (v2) Root Port (Slot+), MSI 00", left)
    assert isinstance(one(text).port_type, Unknown)


@pytest.mark.parametrize("words", ["<access denied>", "<available only to root>"])
def test_capabilities_for_root_alone_are_not_none(words: str) -> None:
    text = (
        "01:00.0 VGA compatible controller [0300]: NVIDIA Some GPU [10de:1b80]\n"
        f"\tFlags: bus master, fast devsel, latency 0, IRQ 11\n\tCapabilities: {words}\n\n"
    )
    assert isinstance(one(text, "01:00.0").acs, Unknown)
