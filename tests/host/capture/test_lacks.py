"""What lacks in a capture is told: what was cut, refused, changed meanwhile or over a limit."""

from __future__ import annotations

import errno
import json

from atoll.host import read_host
from atoll.host.capture.collector import CaptureLimits
from atoll.host.capture.make import capture
from atoll.host.trees.memory import FileEntry
from atoll.twin import Twin
from fuzz.targets.trees import Broken
from host.capture.capture_bench import taken
from host.handmade import Refusing, function_files, tree_of


def test_configuration_space_that_is_cut_is_told() -> None:
    config = function_files("0000:01:00.0")[CONFIG]
    assert isinstance(config, bytes)
    files = function_files("0000:01:00.0", config=config[:64])
    made = taken(tree_of(files))
    assert [(entry.path, entry.reason) for entry in made.manifest.missing] == [
        (CONFIG, "cut to 64 bytes: capabilities are shown to root only")
    ]


CONFIG = "sys/devices/pci0000:01/0000:01:00.0/config"


def test_what_cannot_be_read_is_told() -> None:
    files = {**function_files("0000:01:00.0"), "proc/cmdline": "quiet\n", "proc/swaps": "Filename\n"}
    made = taken(Refusing(tree_of(files), "proc/cmdline"))
    assert [(entry.path, entry.reason) for entry in made.manifest.missing] == [
        ("proc/cmdline", "no permission to read it: run as root")
    ]
    assert "proc/swaps" in list(made.tree)
    document = json.loads(made.tree.read("manifest.json"))
    assert document["missing"] == [{"path": "proc/cmdline", "reason": "no permission to read it: run as root"}]


def test_a_node_of_the_device_tree_that_cannot_be_listed_is_told() -> None:
    twin = Twin.new("ac922-4gpu", kernel="5.4")
    tree = "sys/firmware/devicetree/base/pciex@6230200000000"
    lost = f"{tree}/bridge@0"
    made = taken(Broken(twin, {lost: errno.EACCES, f"{tree}/bridge@1": errno.ENOENT}))
    assert {(entry.path, entry.reason) for entry in made.manifest.missing if "/bridge@" in entry.path} == {
        (f"proc/device-tree/pciex@6230200000000/{name}", why)
        for name, why in (
            ("bridge@0", "no permission to read it: run as root"),
            ("bridge@1", "its folder lists it, and it is not there"),
        )
    }


def test_a_host_that_changes_meanwhile_is_told() -> None:
    tree = tree_of(function_files("0000:01:00.0"))
    host = read_host(tree)
    entry = tree.entry(CONFIG)
    assert isinstance(entry, FileEntry)
    entry.data = entry.data[:4] + b"\0\0" + entry.data[6:]
    assert capture(tree, host).manifest.changed == ("0000:01:00.0: command",)


def test_limits_are_kept_and_told() -> None:
    twin = Twin.new("dgx1v")
    whole = taken(twin)
    few = taken(twin, limits=CaptureLimits(entries=200))
    assert few.manifest.files + few.manifest.links <= 200 < whole.manifest.files + whole.manifest.links
    assert [entry.reason for entry in few.manifest.limited] == [
        "left out with what follows: the capture has 200 entries at most"
    ]
    assert few.manifest.changed
    small = taken(twin, limits=CaptureLimits(content=20_000))
    assert small.manifest.content <= 20_000 + len(small.tree.read("records/registers.json")) < whole.manifest.content
    assert small.manifest.limited
    cut = taken(twin, limits=CaptureLimits(file_size=100))
    assert any(entry.reason == "cut to 100 bytes" for entry in cut.manifest.limited)
    assert len(cut.tree.read("proc/version")) <= 100
