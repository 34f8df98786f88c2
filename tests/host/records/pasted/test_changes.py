"""What diff shows of two outputs of lspci is the later one, and no more of it than it shows."""

from __future__ import annotations

import pytest

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.records.pasted.changes import as_changed
from atoll.pci.acs import AcsFlag
from host.records.paste import PORT, at, host_of

_CTL = "\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-\n"
_OFF = _CTL.replace("+", "-")


def _diff(text: str) -> str:
    """A diff of a text and itself with ACS off and another driver: one hunk of all lines."""
    lines = [f" {line}" for line in text.splitlines()]
    taken = [
        n for n, line in enumerate(lines) if line == f" {_CTL.rstrip()}" or "Kernel driver in use: pcieport" in line
    ]
    assert len(taken) == 2
    for place in reversed(taken):
        new = _OFF.rstrip() if "ACSCtl" in lines[place] else lines[place][1:].replace("pcieport", "vfio-pci")
        lines[place : place + 1] = [f"-{lines[place][1:]}", f"+{new}"]
    count = len(text.splitlines())
    return "\n".join(["--- a", "+++ b", f"@@ -1,{count} +1,{count} @@", *lines, ""])


@pytest.mark.parametrize(
    ("mark", "sent"),
    [("\n", "\n"), ("\n", "\n> "), ("\n \n", "\n\n"), ("\n \t", "\n\t")],
    ids=["", "quoted", "blank", "tab"],
)
def test_what_came_counts(mark: str, sent: str) -> None:
    """With what mailers do to a line's beginning."""
    shown = "\n" + _diff("\n" + PORT)
    assert mark in shown
    text = shown.replace(mark, sent)
    found, plain = host_of(text).functions, host_of(PORT).functions
    assert found.keys() == plain.keys()
    acs = value_of(found[at("00:01.0")].acs, None)
    assert acs is not None
    assert acs.control == AcsFlag(0)
    assert value_of(found[at("00:01.0")].driver, "") == "vfio-pci"
    assert [f.port_type.value for f in found.values() if isinstance(f.port_type, Known)] == [
        f.port_type.value for f in plain.values() if isinstance(f.port_type, Known)
    ]


def test_between_two_hunks_lines_may_be_lacking() -> None:
    cut = PORT.index("\tCapabilities: [1c0 v1]")
    head = "".join(f" {line}\n" for line in PORT[:cut].splitlines())
    count = head.count("\n")
    rest = " \tCapabilities: [80] Express (v2) Legacy Endpoint, MSI 00\n \tKernel driver in use: xhci_hcd\n"
    for lines in (rest, rest.partition("\n")[2]):
        gpu = host_of(f"@@ -1,{count} +1,{count} @@\n{head}@@ -90,2 +90,2 @@\n{lines}").functions[at("01:00.0")]
        assert isinstance(gpu.driver, Unknown)


def test_behind_a_hunk_lines_are_whole_again() -> None:
    hunk = ["@@ -1,2 +1,2 @@", "-old", "+new", ""]
    last = ["@@ -5 +5 @@ x", "-1", "\\ No newline", "+2", "+3", "", "-[0000:00]-"]
    kept = ["-a", hunk[0], "new", "", "text", "- item", last[0], "2", "3", "", "-[0000:00]-"]
    assert list(as_changed(["-a", *hunk, "text", "- item", *last])) == kept
