"""What a twin shows while its folders are written one by one, as they are looked into, against all of them anew."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

import pytest

from atoll.twin import Twin
from atoll.twin.files import Attribute, Files, Folder, Link

MACHINES = ("pcie-box", "ac922-6gpu", "vmd-server", "random-18-virtual", "random-7", "random-38")


def whole(folder: Folder, above: str = "") -> dict[str, object]:
    """Every path: of a link its target, of a file what it holds or why that cannot be had."""
    found: dict[str, object] = {above: None}
    for name, entry in folder.whole().items():
        path = f"{above}/{name}"
        if isinstance(entry, Folder):
            found |= whole(entry, path)
        elif isinstance(entry, Link):
            found[path] = entry.target
        else:
            found[path] = held(entry)
    return found


def held(entry: Attribute) -> object:
    if entry.load is None:
        return "not to be read"
    try:
        return entry.load(0, None)
    except OSError as error:
        return error.errno


def look(twin: Twin, dice: random.Random) -> None:
    """Walk down some way, as programs do that read a part."""
    path = ""
    for _ in range(dice.randint(1, 8)):
        names = twin.list(path)
        if not names:
            return
        path = f"{path}/{dice.choice(names)}"
        try:
            twin.list(path)
        except OSError:
            return


def operate(twin: Twin, dice: random.Random) -> None:
    """One thing that an administrator may do, or that may happen; the kernel may refuse it."""
    devices = sorted(twin.kernel.devices)
    address = dice.choice(devices)
    folder = f"sys/bus/pci/devices/{address}"

    def write(name: str, text: str) -> Callable[[], None]:
        return lambda: twin.write(name, text.encode())

    driver = twin.kernel.devices[address].driver
    methods = ("flr", "bus", "pm", "subordinate")
    events = ("open", "close", "vm-start", "vm-reset", "vm-stop", "kill", "suspend")
    given = [each for each in devices if twin.kernel.devices[each].driver == "vfio-pci"]
    ways: list[Callable[[], None]] = [
        write(f"{folder}/driver_override", dice.choice(("vfio-pci", "pci-stub", ""))),
        write(f"sys/bus/pci/drivers/{driver}/unbind", str(address)),
        write("sys/bus/pci/drivers_probe", str(address)),
        write(f"{folder}/remove", "1"),
        write("sys/bus/pci/rescan", "1"),
        write(f"{folder}/sriov_numvfs", str(dice.choice((0, 1, 2)))),
        write(f"{folder}/reset_method", dice.choice(("flr", "bus", ""))),
        write(f"{folder}/enable", dice.choice(("0", "1"))),
        write(f"{folder}/reset", "1"),
        lambda: twin.reset(address, dice.choice(methods)),
        lambda: twin.event(dice.choice(events), [dice.choice(given or devices)]),
        lambda: twin.event("reboot") if dice.random() < 0.1 else None,
        lambda: twin.write(f"run/atoll/{dice.randrange(3)}/file", b"kept"),
    ]
    with contextlib.suppress(OSError):
        dice.choice(ways)()


@pytest.mark.parametrize("name", MACHINES)
def test_whatever_happens_all_files_are_those_of_a_tree_written_anew(name: str) -> None:
    dice = random.Random(name)
    twin = Twin.new(name)
    for address in list(twin.kernel.devices)[::3]:
        twin.write(f"sys/bus/pci/devices/{address}/driver_override", b"vfio-pci")
    changes = set()
    for _ in range(60):
        for _ in range(dice.randint(1, 4)):
            operate(twin, dice)
            look(twin, dice)
        shown = whole(twin._tree().root)
        changes.add(twin.kernel.generation)
        twin.kernel.changed()
        assert shown == whole(twin._tree().root)
    assert len(changes) > 30


@pytest.mark.parametrize("name", MACHINES)
def test_folders_written_when_looked_into_are_those_written_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = whole(Twin.new(name)._tree().root)

    def at_once(files: Files, path: str, rest: Callable[[], None]) -> None:
        files.add(path, Folder())
        rest()

    monkeypatch.setattr(Files, "later", at_once)
    assert shown == whole(Twin.new(name)._tree().root)


def test_a_folder_is_written_when_somebody_first_looks_into_it() -> None:
    files, written = Files(), []

    def rest() -> None:
        written.append("once")
        files.add("a/b/c", Link("d"))

    files.add("a/b/x/y", Link("z"))
    files.later("a/b", rest)
    assert files.list("a") == ("b",)
    assert not written
    assert files.list("a/b") == ("c", "x")
    assert files.readlink("a/b/c") == "d"
    assert written == ["once"]
