"""The same machine as a sysfs folder and as lspci prints it gives the same answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from atoll.controls.present import present
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import Known, Unknown
from atoll.host.model import Host
from atoll.host.records.multifunction import ALONE
from atoll.isolation.groups import predict
from atoll.isolation.reach import Reach
from host.records.paste import CAPTURES, RENDERED, host_of, recorded_text, without_sizes

_TEXTS = sorted(RENDERED.glob("*.txt.xz"))
_TOLD = (
    "header",
    "port_type",
    "command",
    "ats",
    "pasid",
    "cxl_cache",
    "multicast",
    "sriov",
    "pending",
    "port_number",
    "power_state",
    "bridge",
    "rom",
)


def _machine(text: Path) -> Host:
    return read_host(str(CAPTURES / f"{text.name.split('.txt')[0].removesuffix(_kind(text))}.tar.xz"))


def _kind(text: Path) -> str:
    return next((kind for kind in (".names", ".path", ".hex") if kind in text.name), "")


def _groups(host: Host) -> list[tuple[object, ...]]:
    assert isinstance(host.groups, Known)
    return sorted(tuple(group.members) for group in host.groups.value.values())


def test_there_are_texts_of_every_kind() -> None:
    assert len(_TEXTS) == 16 + 9
    assert {_kind(text) for text in _TEXTS} == {"", ".names", ".path", ".hex"}


@pytest.mark.parametrize("text", _TEXTS, ids=lambda text: text.name.removesuffix(".txt.xz"))
def test_lspci_text_and_folder_tell_the_same(text: Path) -> None:
    folder, paste = _machine(text), host_of(recorded_text(text))
    assert list(paste.functions) == list(folder.functions)
    for address, function in folder.functions.items():
        pasted = paste.functions[address]
        assert pasted.class_code == function.class_code
        assert (pasted.parent, pasted.host_bridge) == (function.parent, function.host_bridge)
        assert pasted.physical_function == function.physical_function
        if pasted.ids_told:
            assert (pasted.vendor, pasted.device) == (function.vendor, function.device)
        else:
            assert _kind(text) == ".names"
            assert any(vendor in (None, function.vendor) for vendor, _ in pasted.possible_ids)
        for name in _TOLD:
            told, read = getattr(pasted, name), getattr(function, name)
            if isinstance(read, Known):
                assert isinstance(told, Known), (address, name, told)
                assert without_sizes(told.value) == without_sizes(read.value), (address, name)
        assert isinstance(pasted.acs, Known)
        assert isinstance(function.acs, Known)
        assert pasted.acs.value == function.acs.value
        assert isinstance(pasted.multifunction, Known)
        if pasted.multifunction.source != ALONE:
            assert isinstance(function.multifunction, Known)
            assert pasted.multifunction.value == function.multifunction.value
    assert _groups(paste) == _groups(folder)


@pytest.mark.parametrize("text", _TEXTS, ids=lambda text: text.name.removesuffix(".txt.xz"))
def test_lspci_text_and_folder_give_the_same_groups_and_reach(text: Path) -> None:
    folder, paste = _machine(text), host_of(recorded_text(text))
    # No lspci prints the kernel's release and the types of default domains.
    paste = replace(paste, kernel=folder.kernel, groups=folder.groups)
    here, there = predict(folder), predict(paste)
    assert there.groups == here.groups
    assert not there.undetermined
    one, other = (Reach(Topology(host), present(host)) for host in (folder, paste))
    ends = [address for address, function in folder.functions.items() if not function.is_port][:14]
    for source in ends:
        for target in ends:
            if source != target:
                assert other.answer(source, target).answer == one.answer(source, target).answer, (source, target)


def test_a_lone_function_is_marked_as_taken_for_single() -> None:
    paste = host_of(recorded_text(RENDERED / "linux-7.3-q35-intel-205.txt.xz"))
    alone = [f for f in paste.functions.values() if f.multifunction == Known(False, ALONE)]
    assert alone
    assert not any(isinstance(f.multifunction, Unknown) for f in paste.functions.values())
