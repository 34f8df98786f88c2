"""A twin's document: everything comes back, nothing unsound gets in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atoll.twin import MACHINES, Twin, TwinError
from twin.bench import ALL_PEERS, DISABLE, at, cut, give, set_acs, set_command, sysfs, text

RED, BLUE = at("0004:04:00.0"), at("0004:05:00.0")


def everything(twin: Twin) -> dict[str, Any]:
    """All that a reader sees."""
    found: dict[str, Any] = {}
    pending = ["sys", "proc", "dev", "var", "run", "records"]
    while pending:
        path = pending.pop()
        for entry in twin.list(path):
            below = f"{path}/{entry}"
            try:
                found[below] = twin.readlink(below)
                continue
            except OSError:
                pass
            try:
                twin.list(below)
                pending.append(below)
            except NotADirectoryError:
                try:
                    found[below] = twin.read(below)
                except OSError as error:
                    found[below] = error.errno
    return found


def busy() -> Twin:
    """A machine that much was done to."""
    twin = Twin.new("ac922-4gpu", kernel="5.4-isolate", links=False)
    give(twin, RED, BLUE)
    twin.lease_vfio(RED, holder="atoll-hold:red")
    twin.event("vm-start", [BLUE])
    cut(twin, RED)
    set_acs(twin, at("0004:02:0a.0"), 0x1D)
    twin.write("sys/bus/pci/devices/0030:01:00.1/remove", b"1")
    twin.write("sys/bus/pci/devices/0004:06:00.0/driver_override", b"vfio-pci")
    twin.write("sys/bus/pci/drivers/vfio-pci/new_id", b"1234 5678")
    twin.write("var/lib/atoll/journal/1", b"\x00\xffdone")
    set_command(twin, RED, on=0x4)
    return twin


@pytest.mark.parametrize("name", MACHINES)
def test_fresh_machines_come_back(name: str, tmp_path: Path) -> None:
    twin = Twin.new(name)
    twin.save(tmp_path / "twin.json")
    assert everything(Twin.load(tmp_path / "twin.json")) == everything(twin)


def test_all_state_comes_back(tmp_path: Path) -> None:
    twin = busy()
    twin.save(tmp_path / "twin.json")
    back = Twin.load(tmp_path / "twin.json")
    assert everything(back) == everything(twin)
    assert back.peek(RED, "bar0", DISABLE) == ALL_PEERS
    for source, victim in ((RED, BLUE), (BLUE, RED)):
        assert back.attack(source, victim) == twin.attack(source, victim)
    lease = back.lease_vfio(RED, holder="atoll-hold:red")
    assert back.peek(RED, "bar0", DISABLE) == ALL_PEERS, "an open descriptor stays open: no reset"
    lease.close()
    assert back.peek(RED, "bar0", DISABLE) == 0
    back.event("vm-stop", [BLUE])
    back.write("sys/bus/pci/rescan", b"1")
    assert "0030:01:00.1" in back.list("sys/bus/pci/devices")


def test_group_types_methods_and_virtual_functions_come_back(tmp_path: Path) -> None:
    twin = Twin.new("pcie-box")
    card = at("0000:03:00.0")
    give(twin, card)
    twin.write(sysfs(card, "reset_method"), b"bus")
    twin.write(sysfs(card, "iommu_group/type"), b"identity")
    twin.write("sys/bus/pci/devices/0000:0c:00.0/sriov_numvfs", b"0")
    twin.save(tmp_path / "t")
    back = Twin.load(tmp_path / "t")
    assert text(back, sysfs(card, "reset_method")) == "bus"
    assert text(back, sysfs(card, "iommu_group/type")) == "identity"
    assert "0000:0c:00.1" not in back.list("sys/bus/pci/devices")
    assert everything(back) == everything(twin)


def test_saving_replaces_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "twin.json"
    Twin.new("pcie-box").save(path)
    Twin.new("dgx1v").save(path)
    assert Twin.load(path).name == "twin:dgx1v"
    assert [entry.name for entry in tmp_path.iterdir()] == ["twin.json"]
    with pytest.raises(FileNotFoundError):
        Twin.new("dgx1v").save(tmp_path / "nowhere" / "twin.json")
    with pytest.raises(FileNotFoundError):
        Twin.load(tmp_path / "absent")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'"atoll.twin/1"',
        b'{"schema": "atoll.host/1"}',
        b'{"schema": "atoll.twin/1"}',
        b"[" * 100_000,
    ],
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(TwinError) as caught:
        Twin.load(tmp_path / "x")
    assert caught.value.hint


DAMAGE: list[tuple[list[str], Any]] = [
    (["machine"], "nothing"),
    (["kernel"], "0.99"),
    (["links"], 1),
    (["state"], []),
    (["state", "functions"], {}),
    (["state", "functions", "0004:04:00.0"], []),
    (["state", "functions", "0004:04:00.0", "config"], "zz"),
    (["state", "functions", "0004:04:00.0", "config"], "00"),
    (["state", "functions", "0004:04:00.0", "config"], "de10" * 4000),
    (["state", "functions", "0004:04:00.0", "registers"], {"0x200": -1}),
    (["state", "functions", "0004:04:00.0", "registers"], {"x": 1}),
    (["state", "devices", "0004:04:00.0", "driver"], "rootkit"),
    (["state", "devices", "0004:04:00.0", "group"], 99),
    (["state", "devices", "0004:04:00.0", "methods"], ["prayer"]),
    (["state", "devices", "0004:04:00.0", "override"], None),
    (["state", "devices", "0009:00:00.0"], {}),
    (["state", "groups", "0", "members"], []),
    (["state", "groups", "0", "kind"], "warm"),
    (["state", "groups", "x"], {"kind": "unknown", "members": ["0004:04:00.0"]}),
    (["state", "holders"], {"a": {}}),
    (["state", "holders", "atoll-hold:red", "devices"], {}),
    (["state", "holders", "atoll-hold:red", "devices", "0004:00:00.0"], {"saved": "", "reset_works": True}),
    (["state", "holders", "atoll-hold:red", "slot"], True),
    (["state", "next_pid"], "many"),
    (["state", "dynamic_ids"], {"vfio-pci": [[1]]}),
    (["state", "npu_seen"], ["x"]),
    (["state", "files"], {"etc/passwd": ""}),
    (["state", "files"], {"var/lib/atoll/../../../etc/passwd": ""}),
    (["state", "files"], {"run/atoll/a": "", "run/atoll/a/b": ""}),
    (["state", "files"], {"run/atoll/a": 7}),
]


@pytest.mark.parametrize(("place", "value"), DAMAGE)
def test_damage_is_refused(place: list[str], value: Any, tmp_path: Path) -> None:
    path = tmp_path / "twin.json"
    busy().save(path)
    document = json.loads(path.read_text())
    here = document
    for key in place[:-1]:
        here = here[key]
    here[place[-1]] = value
    path.write_text(json.dumps(document))
    with pytest.raises(TwinError) as caught:
        Twin.load(path)
    assert caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "key", ["functions", "devices", "groups", "dynamic_ids", "npu_seen", "holders", "next_pid", "files"]
)
def test_missing_parts_are_refused(key: str, tmp_path: Path) -> None:
    path = tmp_path / "twin.json"
    busy().save(path)
    document = json.loads(path.read_text())
    del document["state"][key]
    path.write_text(json.dumps(document))
    with pytest.raises(TwinError):
        Twin.load(path)
