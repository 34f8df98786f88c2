"""``atoll capture``: an archive that answers as the host does, written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from running import CAPTURES, Ran, Run, unpack

from atoll.cli import capture as verb
from atoll.cli import replacing as writing
from atoll.cli.main import main

TWINS = ("ac922-4gpu", "ac922-6gpu", "dgx1v", "pcie-box", "vmd-server")
SPEC = """
[cluster.red]
devices = ["{}"]
[cluster.blue]
devices = ["{}"]
handover = "held"
"""
SERIAL = re.compile(r"\b[0-9a-f]{2}(-[0-9a-f]{2}){7}\b")


def answers(run: Run, host: object, folder: Path, *, serials: bool = True) -> dict[str, tuple[int, Any]]:
    """Return what every verb that reads says of a host, without its name."""
    found: dict[str, tuple[int, Any]] = {}
    shown = run("show", "--host", host, "--json").json
    ends = [f["address"] for f in shown["functions"] if not f["port"] and f["address"] not in shown["essential"]][-2:]
    spec = folder / "two.toml"
    spec.write_text(SPEC.format(*ends[:2]))
    for arguments in (
        ("show",),
        ("groups",),
        ("doctor",),
        ("atoms",),
        ("explain", *ends[:2]),
        ("prove", spec),
        ("prove", spec, "--policy", "linux"),
    ):
        ran = run(*arguments, "--host", host, "--json")
        text = ran.out.replace(str(host), "HOST")
        text = re.sub(r"twin:[a-z0-9-]+", "HOST", text)
        if not serials:
            text = SERIAL.sub("SERIAL", text)
        assert ran.out, (arguments, ran.err)
        found[" ".join(map(str, arguments))] = ran.code, json.loads(text)
    return found


@pytest.mark.parametrize("redact", [False, True], ids=["plain", "redacted"])
@pytest.mark.parametrize("name", TWINS)
def test_a_twin_and_its_capture_answer_alike(run: Run, tmp_path: Path, name: str, redact: bool) -> None:
    file, twin = tmp_path / "host.tar.xz", tmp_path / "my.twin"
    run("twin", "new", name, twin)
    ran = run("capture", "--host", twin, file, *(["--redact"] if redact else []))
    assert (ran.code, ran.err) == (0, "")
    assert "Not the same" not in ran.out
    assert answers(run, file, tmp_path, serials=not redact) == answers(run, twin, tmp_path, serials=not redact)


@pytest.mark.parametrize("path", CAPTURES[::8], ids=lambda path: path.name)
def test_a_record_and_its_capture_answer_alike(run: Run, tmp_path: Path, path: Path) -> None:
    file = tmp_path / "host.tar.xz"
    assert run("capture", "--host", path, file).code == 0
    assert answers(run, file, tmp_path) == answers(run, path, tmp_path)


def test_cut_links_are_cut_in_the_capture(run: Run, tmp_path: Path, ac922: Path) -> None:
    spec, file = tmp_path / "spec.toml", tmp_path / "host.tar.xz"
    spec.write_text(SPEC.format("gpu[0]", "gpu[1]").replace('["gpu[0]"]', '["gpu[0]"]\nhandover = "held"'))
    run("capture", "--host", ac922, tmp_path / "before.tar.xz")
    assert run("prove", spec, "--host", tmp_path / "before.tar.xz", "--json").json["verdict"] != "proven"
    assert run("apply", spec, "--host", ac922).code == 0
    assert run("capture", "--host", ac922, file).code == 0
    live, recorded = (run("prove", spec, "--host", host, "--json") for host in (ac922, file))
    assert live.code == recorded.code == 0
    assert recorded.json["verdict"] == "proven"


def test_an_unpacked_capture_is_a_host_folder(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "host.tar.xz"
    run("capture", "--host", "twin:pcie-box", file)
    unpack(file, tmp_path / "folder")
    one, other = run("show", "--json", "--host", file).json, run("show", "--json", "--host", tmp_path / "folder").json
    assert one.pop("host") != other.pop("host")
    assert {k: v for k, v in one.items() if k != "provenance"} == {k: v for k, v in other.items() if k != "provenance"}


@pytest.mark.skipif(shutil.which("lspci") is None, reason="no lspci here")
def test_lspci_reads_a_capture_as_it_reads_its_source(run: Run, tmp_path: Path) -> None:
    unpack(CAPTURES[0], tmp_path / "source")
    run("capture", "--host", tmp_path / "source", tmp_path / "host.tar.xz")
    unpack(tmp_path / "host.tar.xz", tmp_path / "capture")
    texts = []
    for folder in ("source", "capture"):
        option = f"sysfs.path={tmp_path / folder}/sys/bus/pci"
        done = subprocess.run(
            ["lspci", "-A", "linux-sysfs", "-O", option, "-Dnnvvxxxx"], capture_output=True, text=True
        )
        texts.append(done.stdout)
    assert "Access Control Services" in texts[0]
    assert "IOMMU group" in texts[0]
    assert texts[1] == texts[0]


def test_this_machine(run: Run, tmp_path: Path) -> None:
    if not Path("/sys/bus/pci/devices").is_dir():
        pytest.skip("no PCI here")
    file = tmp_path / "host.tar.xz"
    assert run("capture", file).code == 0
    one, other = run("groups", "--json").json, run("groups", "--json", "--host", file).json
    assert one.pop("host") == "live"
    other.pop("host")
    assert one == other


# -- the file


def left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_file_that_is_there_is_not_replaced(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "host.tar.xz"
    file.write_text("mine")
    ran = run("capture", "--host", "twin:pcie-box", file)
    assert refusal(ran) == ["is there already", "--force"]
    assert file.read_text() == "mine"
    assert run("capture", "--host", "twin:pcie-box", file, "--force").code == 0
    assert run("show", "--host", file).code == 0
    assert left(tmp_path) == ["host.tar.xz"]


def refusal(ran: Ran) -> list[str]:
    """One line that says what, one that says what to do; the words that matter."""
    assert ran.code == 2
    assert ran.out == ""
    what, todo = ran.err.splitlines()
    assert what.startswith("atoll: ")
    assert todo.startswith("  ")
    return [
        word for word in ("is there already", "is no regular file", "cannot be written", "--force") if word in ran.err
    ]


def test_what_is_no_file_is_never_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        assert refusal(run("capture", "--host", "twin:pcie-box", tmp_path / name, "--force")) == ["is no regular file"]
    assert refusal(run("capture", "--host", "twin:pcie-box", "/dev/null", "--force")) == ["is no regular file"]
    assert left(tmp_path) == ["folder", "pipe"]


def test_a_folder_that_is_not_there(run: Run, tmp_path: Path) -> None:
    assert refusal(run("capture", "--host", "twin:pcie-box", tmp_path / "no" / "file")) == ["cannot be written"]
    (tmp_path / "plain").write_text("")
    assert refusal(run("capture", "--host", "twin:pcie-box", tmp_path / "plain" / "file")) == ["cannot be written"]


def test_no_permission(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(writing, "open", refused, raising=False)
    assert refusal(run("capture", "--host", "twin:pcie-box", tmp_path / "file")) == ["cannot be written"]
    assert left(tmp_path) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_behind(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(verb, "pack", full)
    file = tmp_path / "file"
    file.write_text("mine")
    assert run("capture", "--host", "twin:pcie-box", file, "--force").code in (2, 130)
    assert left(tmp_path) == ["file"]
    assert file.read_text() == "mine"


def test_a_host_that_is_not_there_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    assert run("capture", "--host", tmp_path / "none", tmp_path / "file").code == 2
    assert left(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_not_replaced(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    monkeypatch.setattr(verb, "pack", lambda *_: file.write_text("theirs"))
    assert refusal(run("capture", "--host", "twin:pcie-box", file)) == ["is there already", "--force"]
    assert file.read_text() == "theirs"
    assert left(tmp_path) == ["file"]


def test_a_pasted_text_has_no_files(run: Run, tmp_path: Path) -> None:
    text = tmp_path / "lspci.txt"
    text.write_text("00:00.0 Host bridge [0600]: Intel Corporation Device [8086:1234] (rev 01)\n")
    ran = run("capture", "--host", text, tmp_path / "file")
    assert refusal(ran) == []
    assert "a record already" in ran.err
    assert left(tmp_path) == ["lspci.txt"]


def test_the_source_itself_can_be_replaced(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    run("capture", "--host", "twin:pcie-box", file)
    assert run("capture", "--host", file, file, "--force", "--redact").code == 0
    assert run("doctor", "--host", file).code == 0


# -- what is said


def test_the_document(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    found = run("capture", "--host", "twin:dgx1v", file, "--json", "--redact", "--time").json
    assert found["schema"] == "atoll.capture/1"
    assert found["file"] == str(file)
    assert found["size"] == file.stat().st_size
    assert found["source"] == "twin:dgx1v"
    assert found["functions"] == 36
    assert found["missing"] == found["limits_hit"] == found["changed"] == []
    assert {entry["kind"]: entry["values"] for entry in found["redactions"]}["UUID"] == 8
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["time"])
    plain = run("capture", "--host", "twin:dgx1v", tmp_path / "other", "--json").json
    assert plain["redactions"] is None
    assert "time" not in plain


def test_what_lacks_is_said_and_is_no_failure(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "host"
    unpack(CAPTURES[0], folder)
    configs = list(folder.glob("sys/devices/**/config"))
    for path in configs:
        data = path.read_bytes()[:64]
        path.unlink()
        path.write_bytes(data)
    ran = run("capture", "--host", folder, tmp_path / "file")
    assert ran.code == 0
    assert f"config of {len(configs)} " in ran.out
    assert "cut to 64 bytes: capabilities are shown to root only" in " ".join(ran.out.split())
    assert len(run("capture", "--host", folder, tmp_path / "more", "-v").out.splitlines()) > len(configs)


def test_progress_is_for_terminals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main(["capture", "--host", "twin:dgx1v", str(tmp_path / "file")]) == 0
    err = capsys.readouterr().err
    assert " % " in err
    assert "packing" in err
    assert err.endswith("\r\x1b[K")
    assert "\n" not in err
    assert main(["capture", "--host", "twin:dgx1v", str(tmp_path / "other"), "--json"]) == 0
    assert capsys.readouterr().err == ""
