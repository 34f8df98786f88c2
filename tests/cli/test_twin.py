"""The verbs on simulated machines, and what the reading verbs make of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from running import Run

from atoll.twin import MACHINES, RANDOM

GPUS = ("0004:04:00.0", "0004:05:00.0", "0035:03:00.0", "0035:04:00.0")


def test_list(run: Run) -> None:
    assert [machine["name"] for machine in run("twin", "list", "--json").json["machines"]] == [*MACHINES, RANDOM[0]]
    assert all(name in run("twin", "list").out for name in MACHINES)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("verb", ["show", "groups", "doctor"])
def test_reading_verbs(run: Run, name: str, verb: str) -> None:
    ran = run(verb, "--host", f"twin:{name}", "--json")
    assert ran.code == 0
    assert ran.json["schema"] == f"atoll.{verb}/1"
    assert next(iter(ran.json)) == "schema"
    text = run(verb, "--host", f"twin:{name}", "-v")
    assert text.code == 0
    assert "\x1b" not in text.out
    assert max(map(len, text.out.splitlines())) <= 100


def test_show_fields(run: Run, ac922: Path) -> None:
    document = run("show", "--host", ac922, "--json").json
    functions = {function["address"]: function for function in document["functions"]}
    gpu = functions[GPUS[0]]
    assert (gpu["vendor"], gpu["device"], gpu["class"]) == (0x10DE, 0x1DB1, 0x030200)
    assert gpu["type"] == "endpoint"
    assert isinstance(gpu["group"], int)
    port = functions["0004:02:0a.0"]
    assert port["acs"]["flags"].startswith("SrcValid- TransBlk- ReqRedir-")
    assert port["acs"]["control"] == "0x0000"
    assert list(functions) == sorted(functions)


def test_groups_as_predicted(run: Run, ac922: Path) -> None:
    document = run("groups", "--host", ac922, "--json").json
    assert document["recorded"] == document["predicted"]
    assert [GPUS[0]] in document["recorded"]
    assert document["undetermined"] == []


def test_a_twin_is_kept_between_commands(run: Run, ac922: Path) -> None:
    def command() -> int:
        return int(run("twin", "peek", ac922, GPUS[0], "--config", "4", "--json").json["value"], 16) & 0x7

    before = command()
    assert run("twin", "poke", ac922, GPUS[0], "--config", f"4={before ^ 0x4:#x}").code == 0
    assert command() == before ^ 0x4
    assert run("show", "--host", ac922).code == 0
    assert command() == before ^ 0x4


def test_a_reset_that_a_device_does_not_have(run: Run, ac922: Path) -> None:
    ran = run("twin", "reset", ac922, GPUS[0], "--method", "flr")
    assert ran.code == 2
    assert ran.err == f"atoll: {GPUS[0]} has no reset method 'flr'\n  it has: bus\n"
    ran = run("twin", "reset", ac922, "0004:02:0a.0", "--method", "sneeze")
    assert ran.err.endswith("\n  it has: subordinate\n")


def test_peek_prints_hexadecimal(run: Run, ac922: Path) -> None:
    assert run("twin", "peek", ac922, GPUS[0], "--config", "0").out == "0x1db110de\n"
    assert run("twin", "peek", ac922, GPUS[0], "--bar0", "0").out.startswith("0x14")


def test_attack(run: Run, ac922: Path) -> None:
    ran = run("twin", "attack", ac922, GPUS[0], GPUS[1], "--json")
    assert ran.code == 0
    assert ran.json["reached"] is True
    assert {"at", "via", "because"} == set(ran.json["path"][0])
    assert any(not attempt["delivered"] for attempt in ran.json["attempts"])
    text = run("twin", "attack", ac922, GPUS[0], GPUS[1])
    assert "reached" in text.out.splitlines()[0]
    assert GPUS[1] in text.out.splitlines()[-1]


def test_a_kernel_without_attribute(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "old.twin"
    ran = run("twin", "new", "ac922-4gpu", path, "--kernel", "5.4", "--json")
    assert ran.json["kernel"].startswith("5.4")
    groups = run("groups", "--host", path, "--json").json["recorded"]
    assert any({GPUS[0], GPUS[1]} <= set(group) for group in groups)


def test_without_links(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "silent.twin"
    assert run("twin", "new", "ac922-4gpu", path, "--without-links").code == 0
    functions = {f["address"]: f for f in run("show", "--host", path, "--json").json["functions"]}
    assert functions[GPUS[0]]["links"] == []
    assert functions[GPUS[0]]["links_told"] is False
    assert "links unknown" in run("show", "--host", path).out


def test_events_and_resets(run: Run, ac922: Path) -> None:
    busy = run("twin", "event", ac922, "open", GPUS[0])
    assert busy.code == 2
    assert "nouveau" in busy.err
    assert run("twin", "reset", ac922, GPUS[0], "--method", "bus").code == 0
    assert run("twin", "event", ac922, "suspend").code == 0


def test_a_twin_stays_whose_it_is_and_where_it_is(run: Run, ac922: Path) -> None:
    """Through a link too: a copy in the link's place would be another twin from then on."""
    ac922.chmod(0o664)
    link = ac922.with_name("link.json")
    link.symlink_to(ac922.name)
    spec = ac922.with_name("red.toml")
    spec.write_text(f'[cluster.red]\ndevices = ["{GPUS[0]}"]\n')
    before = ac922.read_bytes()
    assert run("twin", "event", link, "suspend").code == 0
    run("apply", spec, "--host", link)
    assert link.is_symlink()
    assert ac922.read_bytes() != before
    assert ac922.stat().st_mode & 0o777 == 0o664


def test_a_twin_whose_owner_nobody_here_knows_is_changed_all_the_same(
    run: Run, ac922: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a user namespace the kernel answers EINVAL to an owner without a number there."""

    def unknown(*_: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fchown", unknown)
    before = ac922.stat().st_ino
    assert run("twin", "event", ac922, "suspend").code == 0
    assert ac922.stat().st_ino != before
