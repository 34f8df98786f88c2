"""What goes wrong is told in one line, what to do in one more; never a traceback, always the right exit code."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import CAPTURES, Ran, Run, unpack

from atoll.cli import main as program
from atoll.errors import AtollError, RefusedError, StepError
from atoll.twin import Twin

GPU = "0004:04:00.0"


def told(ran: Ran, code: int = 2) -> str:
    """Check the form of an error and return its first line."""
    assert ran.code == code
    assert ran.out == ""
    first, second = ran.err.splitlines()
    assert first.startswith("atoll: ")
    assert second.startswith("  ")
    assert second.strip()
    return first


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["shwo"], "no such verb"),
        (["twin"], "wants to know what to do"),
        (["twin", "neu"], "no such verb"),
        (["show", "--polcy"], "--polcy"),
        (["show", "--policy", "none"], "--policy"),
        (["show", "surplus"], "surplus"),
        (["show", "--host", "/nowhere"], "/nowhere"),
        (["show", "--host", "twin:nowhere"], "nowhere"),
        (["show", "--host", "twin:ac922-4gpu:1.0"], "1.0"),
        (["groups", "--host", "twin:ac922-4gpu", "--host", "live"], "records of one machine"),
        (["twin", "new", "ac922-4gpu"], "FILE"),
        (["twin", "reset", "/nowhere", GPU], "/nowhere"),
        (["twin", "event", "/nowhere", "explode", GPU], "explode"),
        (["twin", "event", "/nowhere", "open"], "none is named"),
        (["twin", "attack", "/nowhere", GPU, GPU], "itself"),
        (["twin", "peek", "/nowhere", "4:4.0", "--config", "0"], "not a PCI address"),
        (["twin", "peek", "/nowhere", GPU], "--config"),
        (["twin", "peek", "/nowhere", GPU, "--config", "0", "--bar0", "0"], "one of"),
        (["twin", "peek", "/nowhere", GPU, "--config", "0=1"], "OFF"),
        (["twin", "peek", "/nowhere", GPU, "--config", "2"], "32-bit"),
        (["twin", "poke", "/nowhere", GPU, "--config", "0"], "OFF=VALUE"),
        (["twin", "poke", "/nowhere", GPU, "--bar0", "0=0x100000000"], "32 bits"),
        (["twin", "poke", "/nowhere", GPU, "--bar0", "zero=1"], "not a number"),
    ],
)
def test_wrong_use(run: Run, arguments: list[str], says: str) -> None:
    assert says in told(run(*arguments))


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["shwo"], "atoll show"),
        (["show", "--jsn"], "--json?"),
        (["--hsot", "live"], "--host?"),
        (["--hsot=live", "show"], "--host?"),
        (["--jsn"], "--json?"),
        (["--jsn", "-v"], "--json?"),
        (["show", "--policy", "strikt"], "--policy strict?"),
        (["groups", "--format=forums"], "--format forum?"),
        (["help", "expain"], "atoll explain"),
    ],
)
def test_a_near_miss_gets_a_hint(run: Run, arguments: list[str], meant: str) -> None:
    ran = run(*arguments)
    assert told(ran)
    assert "did you mean" in ran.err
    assert ran.err.rstrip().endswith(meant)


def test_options_alone_are_those_of_show(run: Run) -> None:
    twin = ("--host", "twin:ac922-4gpu")
    for options in ((), ("--json",), ("-v",), ("--policy", "trusted", "--json")):
        alone, named = run(*options, *twin), run("show", *options, *twin)
        assert (alone.code, alone.out) == (0, named.out)
        assert run(*twin, *options).out == named.out
    assert "unrecognized arguments: --zzz" in told(run("--zzz"))
    assert "unrecognized arguments" in told(run("show", ""))
    assert "usage: atoll" in run("--help").out


def test_files_that_never_end(run: Run) -> None:
    """They are not read until memory is full."""
    twin = ("--host", "twin:ac922-4gpu")
    for arguments in (
        ["prove", "/dev/zero", *twin],
        ["apply", "/dev/zero", *twin],
        ["twin", "reset", "/dev/zero", GPU],
    ):
        assert "too" in told(run(*arguments))


def test_a_cluster_file_from_windows(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "tenants.toml"
    file.write_bytes(b'\xef\xbb\xbf[cluster.red]\r\ndevices = ["gpu[0]"]\r\n')
    assert run("plan", file, "--host", "twin:ac922-4gpu").err == ""


@pytest.mark.parametrize(
    "name",
    [
        *("0004:04:00", "gpu[0]", "0004:04:00.0,", "[0004:04:00.0]", "pci_0004_04_00_0", "pci@0004:04:00.0"),
        *("/sys/bus/pci/devices/0004:04:00.0", "0004:04:00.0/"),
    ],
)
def test_names_of_one_function(run: Run, name: str) -> None:
    assert run("explain", name, "--host", "twin:ac922-4gpu", "--json").json["a"] == "0004:04:00.0"


def test_names_of_several_functions(run: Run) -> None:
    for name in ("10de:1db1", "gpu[0:4]"):
        ran = run("explain", name, "--host", "twin:ac922-4gpu")
        assert "4 functions" in told(ran)
        assert "name one: 0004:04:00.0 0004:05:00.0" in ran.err
    assert "name one: 0030:01:00.0 0030:01:00.1" in run("explain", "0030:01:00", "--host", "twin:ac922-4gpu").err


@pytest.mark.parametrize("verb", ["show", "groups", "doctor"])
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 600, b"{", b'{"schema": "atoll.twin/1"}', b'{"schema": "atoll.twin/9", "machine": 3}']
)
def test_a_file_that_is_no_host(run: Run, tmp_path: Path, verb: str, content: bytes) -> None:
    path = tmp_path / "host"
    path.write_bytes(content)
    assert str(path) in told(run(verb, "--host", path))


@pytest.mark.parametrize("verb", ["show", "groups", "doctor"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.99])
def test_a_truncated_archive(run: Run, tmp_path: Path, verb: str, share: float) -> None:
    whole = CAPTURES[0].read_bytes()
    path = tmp_path / "cut.tar.xz"
    path.write_bytes(whole[: int(len(whole) * share)])
    assert str(path) in told(run(verb, "--host", path))


@pytest.mark.parametrize("verb", ["show", "groups", "doctor"])
def test_an_empty_folder(run: Run, tmp_path: Path, verb: str) -> None:
    for arguments in ((verb,), (verb, "--json")):
        ran = run(*arguments, "--host", tmp_path)
        assert ran.code in (0, 2, 3)
        assert ran.out or told(ran)


@pytest.mark.parametrize("verb", ["show", "groups", "doctor"])
def test_a_folder_with_damage(run: Run, tmp_path: Path, verb: str) -> None:
    unpack(CAPTURES[0], tmp_path)
    functions = sorted((tmp_path / "sys/bus/pci/devices").iterdir())
    configs = [function.resolve() / "config" for function in functions]
    configs[0].write_bytes(b"")
    configs[1].write_bytes(b"\xff" * 256)
    configs[2].write_bytes(os.urandom(4096))
    configs[3].write_bytes(configs[3].read_bytes()[:64])
    configs[4].unlink()
    (configs[5].parent / "vendor").write_text("no number\n")
    (configs[6].parent / "class").write_bytes(b"\xff\xfe")
    for group in (tmp_path / "sys/kernel/iommu_groups").iterdir():
        (group / "type").unlink(missing_ok=True)
    ran = run(verb, "--host", tmp_path)
    assert ran.code in (0, 3)
    assert ran.err == ""


def test_a_device_that_is_not_there(run: Run, ac922: Path) -> None:
    assert "0009:00:00.0" in told(run("twin", "reset", ac922, "0009:00:00.0"))
    assert "0009:00:00.0" in told(run("twin", "attack", ac922, "0009:00:00.0", GPU))


def test_a_twin_leaves_other_files_alone(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("dear")
    assert "is no twin" in told(run("twin", "new", "ac922-4gpu", path), 4)
    assert path.read_text() == "dear"


def test_a_folder_that_does_not_exist(run: Run, tmp_path: Path) -> None:
    told(run("twin", "new", "ac922-4gpu", tmp_path / "a" / "b"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AtollError("m", hint="h"), 1),
        (RefusedError("m", hint="h"), 4),
        (StepError("m", hint="h"), 5),
        (PermissionError(13, "Permission denied", "/sys/x"), 2),
    ],
)
def test_exit_codes(run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int) -> None:
    from atoll.cli import show

    def fail(options: object) -> int:
        raise error

    monkeypatch.setattr(show, "run", fail)
    told(run("show"), code)


def test_interrupted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from atoll.cli import show

    def interrupt(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(show, "run", interrupt)
    ran = run("show")
    assert (ran.code, ran.err) == (program.INTERRUPTED, "")


def test_an_interrupt_in_the_middle_is_told(
    run: Run, ac922: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text(f'[cluster.red]\ndevices = ["{GPU}"]\n')
    write, came = Twin.write, list[str]()

    def interrupted(twin: Twin, path: str, data: bytes, *, offset: int = 0) -> None:
        if path.endswith("driver_override") and not came:
            came.append(path)
            raise KeyboardInterrupt
        write(twin, path, data, offset=offset)

    monkeypatch.setattr(Twin, "write", interrupted)
    assert "interrupted at step s1" in told(run("apply", spec, "--host", ac922), 5)


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    """The pipe's reader is gone before the first line: no traceback, no noise."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        ran = subprocess.run(
            [sys.executable, "-m", "atoll", "show", "--host", "twin:ac922-4gpu"],
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert ran.stderr == b""
    assert ran.returncode == program.PIPE_CLOSED


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_standard_file_that_is_closed(closed: str, tmp_path: Path) -> None:
    """What services and cron do: the exit code still tells."""
    spec = tmp_path / "spec.toml"
    spec.write_text(f'[cluster.red]\ndevices = ["{GPU}"]\n')
    for arguments, code in (
        (f"prove {spec} --host twin:ac922-4gpu", 1),
        ("show --host -" if "<" in closed else "x", 2),
    ):
        command = f"exec {sys.executable} -m atoll {arguments} {closed}"
        ran = subprocess.run(["sh", "-c", command], input="", capture_output=True, text=True, check=False)
        assert ran.returncode == code, ran.stderr
        assert "Traceback" not in ran.stderr + ran.stdout
        if ">&-" in closed and "2>&-" not in closed:
            assert ran.stdout == ""


def test_a_plan_is_written_over_plans_only(run: Run, ac922: Path, tmp_path: Path) -> None:
    spec, plan = tmp_path / "spec.toml", tmp_path / "plan.json"
    spec.write_text(f'[cluster.red]\ndevices = ["{GPU}"]\n')
    for file in (spec, ac922):
        before = file.read_bytes()
        assert "is no plan" in told(run("plan", spec, "-o", file, "--host", ac922), 4)
        assert file.read_bytes() == before
    plan.touch()
    for _ in range(2):
        assert run("plan", spec, "-o", plan, "--host", ac922).err == ""
        assert run("prove", spec, "--after", plan, "--host", ac922).err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_what_cannot_be_written_is_named(run: Run, tmp_path: Path) -> None:
    ran = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m atoll show --host twin:ac922-4gpu > /dev/full"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "standard output" in told(Ran(ran.returncode, ran.stdout, ran.stderr))
    spec = tmp_path / "spec.toml"
    spec.write_text(f'[cluster.red]\ndevices = ["{GPU}"]\n')
    assert "/dev/full: " in told(run("plan", spec, "-o", "/dev/full", "--host", "twin:ac922-4gpu"))
    nowhere = tmp_path / "nowhere" / "x.twin"
    assert told(run("twin", "new", "ac922-4gpu", nowhere)) == f"atoll: {nowhere}: No such file or directory"


def test_a_broken_pipe_that_is_not_the_output_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of standard output nobody may want to read more; of anything else somebody has to know."""

    def broken(options: object) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe", "/sys/bus/pci/rescan")

    monkeypatch.setattr("atoll.cli.show.run", broken)
    assert told(run("show")) == "atoll: /sys/bus/pci/rescan: Broken pipe"
