"""Records that are read together are of one machine, or refused."""

from __future__ import annotations

import pytest

from atoll.errors import InputError
from atoll.host.model import Host
from atoll.host.records.content import read_record
from atoll.host.together import read_together
from host.records.paste import MACHINES, recorded_text

_AMD = "msi-b550-tomahawk-navi10"
_INTEL = "xeon-e3v6-kabylake"


def _together(*texts: str) -> Host:
    return read_together([read_record(text.encode(), name=f"{n}.txt") for n, text in enumerate(texts)])


def _board(vendor: int, *, differing: int = 6) -> str:
    """A list of six chipset functions and a card; ``differing`` of them of ``vendor``, the others of Intel."""
    shown = [
        f"00:1{n}.0 {'System peripheral [0880]' if n else 'ISA bridge [0601]'}: A "
        f"[{vendor if n < differing else 0x8086:04x}:a00{n}]"
        for n in range(6)
    ]
    return "\n".join([*shown, "01:00.0 VGA compatible controller [0300]: B [10de:1b80]"]) + "\n"


def test_two_boards_in_one_text_or_two_are_refused() -> None:
    amd, intel = _board(0x1022), _board(0x8086)
    for texts in ((amd, intel), (f"My old box:\n{amd}\nThe new one:\n\n{intel}",)):
        with pytest.raises(InputError) as error:
            _together(*texts)
        assert "of two machines: at 0000:00:10.0" in error.value.message
        assert "5 more functions" in error.value.message
        assert "one machine alone" in str(error.value.hint)


def test_a_few_functions_that_differ_are_unknown_and_no_other_machine() -> None:
    """Firmware shows and hides functions, and cards are exchanged."""
    host = _together(_board(0x1022, differing=3), _board(0x8086))
    assert sum(not function.ids_told for function in host.functions.values()) == 3


_CARDS = ("Ethernet controller [0200]: A [1af4:1000]", "SCSI storage controller [0100]: B [1af4:1001]")


@pytest.mark.parametrize("place", ["00:{:02x}.0", "{:04x}:00:00.0"])
def test_cards_that_moved_on_buses_00_are_unknown_and_no_other_machine(place: str) -> None:
    """Of a guest, where all are on bus 00, and of s390, where each is in a domain of its own."""
    bridge = "00:00.0 Host bridge [0600]: C [8086:1237]\n" if place.startswith("00:") else ""
    one, other = (
        bridge + "".join(f"{place.format(n + 3)} {_CARDS[(n + first) % 2]}\n" for n in range(6)) for first in range(2)
    )
    host = _together(one, other)
    assert sum(not function.ids_told for function in host.functions.values()) == 6


def _recorded(name: str) -> str:
    return recorded_text(MACHINES / name / "lspci.txt.xz").decode(errors="replace")


@pytest.mark.parametrize("name", [_AMD, _INTEL])
def test_recorded_machines_beside_themselves_and_others(name: str) -> None:
    text = _recorded(name)
    whole = _together(text)
    assert _together(text, text).functions.keys() == whole.functions.keys()
    other = _recorded(_INTEL if name == _AMD else _AMD)
    with pytest.raises(InputError, match="of two machines"):
        _together(f"{text}\n\nand\n\n{other}")
