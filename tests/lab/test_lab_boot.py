"""A real kernel, every time: it boots, atoll reads it, and what goes wrong leaves a folder that tells why."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.boot import Boot, boot
from lab.errors import LabError
from lab.scenarios.smoke import check_groups, run_on

FAILS = b"""
import os, labguest
from pathlib import Path
labguest.answer({"uid": os.getuid()})
labguest.give("release", os.uname().release.encode())
Path("/no/such/folder/file").write_text("")
"""

STAYS = b"""
import os, labguest
labguest.answer({"judged": ["one"]})
labguest.answer({"judged": ["one", "two"]})
os._exit(1)
"""


def test_atoll_agrees_with_the_kernel(small_lab: str, tmp_path: Path) -> None:
    result = run_on(small_lab, tmp_path / "run")
    checks = check_groups(small_lab, result, tmp_path / "host.tar.xz")
    assert len(checks) == 3
    assert [check for check in checks if not check.ok] == []
    assert "0000:01:00.0" in str(result.answer["show"])


def test_a_scenario_that_fails_leaves_everything(small_lab: str, tmp_path: Path) -> None:
    result = boot(Boot(small_lab, (), {"scenario/main.py": FAILS}, name="fails"), folder=tmp_path / "run")
    assert not result.ok
    assert result.answer["uid"] == 0
    assert "FileNotFoundError" in str(result.answer["error"])
    assert "line 6, in <module>" in str(result.answer["error"])
    assert result.files["release"].startswith(b"6.1")
    left = {path.name for path in result.folder.iterdir()}
    assert {"console.txt", "channel.txt", "command.txt", "initrd", "qemu.log"} <= left
    assert "FileNotFoundError" in result.console


def test_a_kernel_that_panics_says_so(small_lab: str, tmp_path: Path) -> None:
    # Without an init the kernel panics on its way to a root file system.
    run = Boot(small_lab, (), {}, cmdline="rdinit=/none", name="panics")
    with pytest.raises(LabError) as caught:
        boot(run, folder=tmp_path / "run")
    assert caught.value.folder == tmp_path / "run"
    assert "Kernel panic" in (tmp_path / "run/console.txt").read_text()
    assert "its last words: " in caught.value.message
    assert "Kernel panic - not syncing" in caught.value.message, "not the last line of what it dumps"


def test_a_deadline_is_kept(small_lab: str, tmp_path: Path) -> None:
    with pytest.raises(LabError) as caught:
        boot(Boot(small_lab, (), {"scenario/main.py": FAILS}, seconds=0.2), folder=tmp_path / "run")
    assert "not done after 0.2 s" in caught.value.message
    assert str(tmp_path / "run") in caught.value.hint


def test_what_was_answered_before_a_deadline_is_brought_back(small_lab: str, tmp_path: Path) -> None:
    folder, told = tmp_path / "run", list[object]()
    files = {"scenario/main.py": STAYS}
    result = boot(Boot(small_lab, (), files, seconds=60), folder=folder, so_far=told.append)
    assert not result.ok
    assert result.answer == {"judged": ["one", "two"]}
    assert result.cut_off.startswith("the guest ended without reporting")
    assert told[-1:] in ([], [result.answer])


def test_an_emulator_that_does_not_start_says_why(small_lab: str, tmp_path: Path) -> None:
    run = Boot(small_lab, ("-device", "no-such-device"), {"scenario/main.py": FAILS})
    with pytest.raises(LabError) as caught:
        boot(run, folder=tmp_path / "run")
    assert "no-such-device" in caught.value.message


def test_a_module_that_the_kernel_lacks_is_an_error(small_lab: str, tmp_path: Path) -> None:
    run = Boot(small_lab, (), {"scenario/main.py": FAILS}, modules=("no-such-module",))
    with pytest.raises(LabError) as caught:
        boot(run, folder=tmp_path / "run")
    assert "no-such-module" in caught.value.message
    assert not (tmp_path / "run").exists()
