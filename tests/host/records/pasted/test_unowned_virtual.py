"""Virtual functions of which a text does not show whose they are."""

from __future__ import annotations

import pytest

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function
from atoll.pci.header import Command
from host.records.paste import at, host_of

_STATUS = "Status: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-"
_ROOM = "(64-bit, prefetchable)"
_HIDDEN, _PLAIN = "<access denied>", "[40] Power Management version 3"
_ON_OR_OFF = "[160 v1] Single Root I/O Virtualization (SR-IOV)"
_OFF = (
    f"{_ON_OR_OFF}\n\t\tIOVCap:\tMigration- 10BitTagReq- Interrupt Message Number: 000\n"
    "\t\tIOVCtl:\tEnable- Migration- Interrupt- MSE- ARIHierarchy-\n\t\tIOVSta:\tMigration-\n"
    "\t\tInitial VFs: 8, Total VFs: 8, Number of VFs: 0, Function Dependency Link: 00\n"
    "\t\tVF offset: 1, stride: 1, Device ID: 1018"
)


def _block(
    place: str, region: str, capability: str, *, on: bool = False, kind: str = "Ethernet controller [0200]"
) -> str:
    return (
        f"0000:{place} {kind}: Somebody Device [15b3:1017]\n"
        f"\tControl: I/O- Mem{'+' if on else '-'} BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- "
        f"FastB2B- DisINTx-\n\t{_STATUS}\n\tRegion 0: Memory at {region}\n\tCapabilities: {capability}\n"
    )


def _function(*blocks: str, place: str = "00:05.1") -> Function:
    return host_of("\n".join(blocks)).functions[at(place)]


_VIRTUAL = _block("00:05.1", f"f0004000 {_ROOM} [virtual] [size=16K]", _PLAIN)


@pytest.mark.parametrize(
    ("owner", "may_be"),
    [
        (_block("00:05.0", f"e0000000 {_ROOM} [size=1M]", _HIDDEN, on=True), True),
        (_block("00:05.0", f"e0000000 {_ROOM} [size=1M]", _ON_OR_OFF, on=True), True),
        (_block("00:05.0", f"e0000000 {_ROOM} [size=1M]", _PLAIN, on=True), False),
        (_block("00:05.0", f"e0000000 {_ROOM} [size=1M]", _OFF, on=True), False),
        (_block("00:05.2", f"e0000000 {_ROOM} [size=1M]", _HIDDEN, on=True), False),
        (_block("00:05.0", f"e0000000 {_ROOM} [size=1M]", _HIDDEN, on=True, kind="SATA controller [0106]"), False),
    ],
)
def test_registers_that_read_as_zero_tell_nothing_of_a_virtual_function(owner: str, may_be: bool) -> None:
    """Memory enable and BARs of virtual functions are zero (Base Specification 9.3.4.1.3, 9.3.4.1.11)."""
    found = _function(_block("00:00.0", f"d0000000 {_ROOM}", _PLAIN, on=True), owner, _VIRTUAL)
    assert found.perhaps_virtual is may_be
    assert isinstance(found.command, Unknown) is may_be
    (bar,) = value_of(found.bars, ())
    assert (bar.start, bar.register) == (0xF000_4000, None if may_be else 0)


@pytest.mark.parametrize("region", [f"f0004000 {_ROOM} [disabled] [size=16K]", f"f0004000 {_ROOM} [size=16K]"])
def test_a_register_that_holds_its_address_is_of_no_virtual_function(region: str) -> None:
    owner = _block("00:05.0", f"e0000000 {_ROOM} [size=1M]", _HIDDEN, on=True)
    found = _function(owner, _block("00:05.1", region, _PLAIN))
    assert not found.perhaps_virtual
    assert found.command == Known(Command.MASTER, "paste line 7")


def test_dumped_ids_say_that_it_is_one_and_not_where_it_answers() -> None:
    rows = ["ff ff ff ff 04 00 10 00 01 00 00 02 00 00 00 00", *["00 " * 15 + "00"] * 3]
    dump = "".join(f"{16 * number:02x}: {row}\n" for number, row in enumerate(rows))
    found = _function(f"0000:00:05.1 Ethernet controller [0200]: Somebody Device [15b3:1018]\n{dump}")
    assert isinstance(found.command, Unknown)
    assert isinstance(found.bars, Unknown)
