"""What programs put before each line, and strings that hold lines: what is told stays the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from time import process_time

import pytest

from atoll.host.fact import Known, value_of
from atoll.host.model import Function
from atoll.host.records.pasted.markup import plain
from host.records.paste import PORT, host_of

_FOUND = """\
/sys/kernel/iommu_groups/1/devices/0000:00:01.0
/sys/kernel/iommu_groups/1/devices/0000:01:00.0
/sys/kernel/iommu_groups/2/devices/0000:02:00.0
"""
_BOOT = """\
[    0.479910] pci 0000:00:01.0: Adding to iommu group 1
[    0.480217] pci 0000:01:00.0: Adding to iommu group 1
[    0.480470] pci 0000:02:00.0: Adding to iommu group 2
"""


def _before(mark: str) -> Callable[[str], str]:
    return lambda text: "".join(f"{mark}{line}" for line in text.splitlines(keepends=True))


def _each(form: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: "\n".join(form(line) for line in text.splitlines()) + "\n"


def _counted(form: str) -> Callable[[str], str]:
    return lambda text: "".join(f"{form.format(n)}{line}\n" for n, line in enumerate(text.splitlines(), 1))


_FORMS: dict[str, Callable[[str], str]] = {
    "pdsh": _before("node-01: "),
    "address": _before("n10.cluster.example: "),
    "docker logs -t": _before("2026-01-02T03:04:05.678901234Z "),
    "RFC 3339": _before("2026-01-02T03:04:05+01:00 "),
    "ts": _before("[2026-01-02 03:04:05] "),
    "C": _before("// "),
    "shell": _before("# "),
    "TeX": _before("% "),
    "JSON list": lambda text: json.dumps({"stdout_lines": text.splitlines()}, indent=4),
    "YAML list": lambda text: "lines:\n" + _each(lambda line: f'  - "{line}"')(text),
    "Python list": lambda text: "[\n" + _each(lambda line: f"    {line!r},")(text) + "]\n",
    "JSON string": lambda text: json.dumps({"changed": True, "stdout": text, "rc": 0}),
    "shell string": lambda text: "$'" + text.replace("\t", "\\t").replace("\n", "\\n") + "'\n",
    "BBCode": lambda text: f"[code]{text}[/code]",
    "quote of a forum": lambda text: f'[quote="me, post:1"]\n[size=12]Hello[/size]\n{text}[/quote]',
    "colours without escape": _each(lambda line: f"[1;32m{line[:7]}[0m{line[7:]}"),
    "forum's lines": _counted("{}. "),
    "forum's code": _counted("{:03}. "),
    "copied rows": _counted("{}\t"),
    "editor": _counted("{:4} "),
    "pager": _counted("{:>4}   │ "),
    "minus signs": lambda text: text.replace("-", "\u2212"),
    "dashes": lambda text: text.replace("-", "\u2013"),
}


def _told(functions: Iterable[Function]) -> list[tuple[object, ...]]:
    facts = ("header", "port_type", "command", "acs", "ats", "bridge", "bars", "driver", "group", "flr", "link")
    return [
        (f.address, f.vendor, f.device, f.class_code, f.parent, *(value_of(getattr(f, name), None) for name in facts))
        for f in functions
    ]


@pytest.mark.parametrize("form", _FORMS)
def test_lspci_tells_the_same(form: str) -> None:
    whole = host_of(PORT)
    assert _told(host_of(_FORMS[form](PORT)).functions.values()) == _told(whole.functions.values())


@pytest.mark.parametrize("text", [_FOUND, _BOOT])
@pytest.mark.parametrize("form", [form for form in _FORMS if form not in ("minus signs", "dashes")])
def test_groups_are_the_same(form: str, text: str) -> None:
    whole = host_of(text).groups
    assert isinstance(whole, Known)
    groups = host_of(_FORMS[form](text)).groups
    assert isinstance(groups, Known)
    assert {n: g.members for n, g in groups.value.items()} == {n: g.members for n, g in whole.value.items()}


@pytest.mark.parametrize("first", ["IOMMU Group 1:\\n\\t", "IOMMU Group 1 "])
def test_a_string_begins_a_line(first: str) -> None:
    line = "00:01.0 PCI bridge [0604]: X [8086:1901]\\n\\t01:00.0 VGA [0300]: Y [10de:1b80]\\n"
    host = host_of(f'  msg: "{first}{line}IOMMU Group 2 02:00.0 Ethernet controller [0200]: Z [8086:1533]\\n"\n')
    assert isinstance(host.groups, Known)
    assert "0000:00:01.0" in map(str, host.groups.value[1].members)


def test_many_sizes_on_one_line_take_no_time_of_their_square() -> None:
    start = process_time()
    assert len(plain("[/b]" + "x at [size=5]" * 300_000)) > 300_000
    assert process_time() - start < 5


def test_many_ends_of_boxes_on_one_line_take_no_time_of_their_square() -> None:
    start = process_time()
    assert plain("[/code][/b]" * 20_000 + "x") == "x"
    assert process_time() - start < 5
