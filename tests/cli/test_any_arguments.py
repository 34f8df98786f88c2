"""Any words on the command line: an answer or two lines that say what is wrong, and an exit code that is documented."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest
from running import CAPTURES, Ran, Run

from atoll.cli.verbs import COMMON, VERBS, Argument

SPEC = '[cluster.red]\ndevices = ["0004:04:00.0"]\n[cluster.blue]\ndevices = ["0035:03:00.0"]\n'
ODD = (
    *(
        "",
        " ",
        "-",
        "--",
        "-1",
        "0",
        "9" * 5000,
        "0x" + "f" * 300,
        "²",
        "\udcff",
        "a\0b",
        "a\nb",
        "\x1b[2J",
        "/",
        "/dev/null",
    ),
    *(
        "..",
        "twin:",
        "twin:ac922-4gpu:9",
        "twin:random-x",
        "0004:04:00.0",
        "0004:04:00.9",
        "4:4",
        "gpu[0]",
        "64G",
        "1=2",
        "0=0",
    ),
    *("--host", "--policy", "-h", "--json", "-v", "--format", "=", "--host=", "é" * 300),
)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Files of every kind, and what is none."""
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "lspci.txt").write_text("00:01.0 PCI bridge [0604]: Intel [8086:1901]\n")
    shutil.copy(CAPTURES[0], tmp_path / "capture.tar.xz")
    return [str(path) for path in sorted(tmp_path.iterdir())] + [str(tmp_path / "new"), str(tmp_path / "none" / "new")]


def some(rng: Random, argument: Argument, words: list[str]) -> list[str]:
    option = [argument.names[-1]] if argument.names[0].startswith("-") else []
    if argument.flag:
        return option
    if argument.choices and rng.random() < 0.7:
        return [*option, rng.choice(argument.choices)]
    return [*option, rng.choice((*words, *ODD))]


def in_order(ran: Ran) -> None:
    assert ran.code in range(6), ran.err
    errors = [line for line in ran.err.splitlines() if not line.startswith(("INFO", "DEBUG"))]
    if errors:
        assert len(errors) == 2, errors
        assert errors[0].startswith("atoll: "), errors
        assert errors[1].startswith("  "), errors
        assert all(line.isprintable() and len(line) < 1100 for line in errors), errors
    if ran.code in (2, 4, 5):
        assert errors
        assert not ran.out or ran.code == 5


@pytest.mark.parametrize("seed", range(120))
def test_any_arguments(seed: int, run: Run, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = Random(seed)
    if rng.random() < 0.4:
        assert run("twin", "new", "ac922-4gpu", tmp_path / "machine.twin").code == 0
        words.append(str(tmp_path / "machine.twin"))
    verb = rng.choice([verb for verb in VERBS if verb.name != "demo"])
    given = verb.name.split()
    for argument in verb.arguments:
        if rng.random() < (0.9 if not argument.names[0].startswith("-") else 0.3):
            given += some(rng, argument, words)
    for argument in COMMON:
        if argument.names[0] != "--host" and rng.random() < 0.2:
            given += some(rng, argument, words)
    if rng.random() < 0.2:
        given.insert(rng.randrange(len(given) + 1), rng.choice(ODD))
    # Never the machine that the tests run on.
    given += ["--host", rng.choice(("twin:ac922-4gpu", "twin:pcie-box", *words))]
    in_order(run(*given))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("deep.toml", b"a = " + b"[" * 20000),
        ("digits.toml", b"a = " + b"9" * 5000),
        ("tables.toml", b"a = " + b"{a = " * 20000),
        ("dotted.toml", b"a" + b".a" * 20000 + b" = 1"),
        ("header.toml", b"[a" + b".a" * 20000 + b"]\nb = 1\n"),
        ("escapes.toml", b'["\\u001b[2J"]\n'),
        ("nul.toml", bytes(100)),
    ],
)
def test_cluster_files_that_python_itself_gives_up_on(run: Run, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    ran = run("prove", tmp_path / name, "--host", "twin:ac922-4gpu")
    assert ran.code == 2
    in_order(ran)


@pytest.mark.parametrize(
    "content", [b'{"a":' * 20000, b'{"a":' + b"9" * 5000 + b"}", b"{}", b'{"schema": "atoll.plan/1"}']
)
def test_plans_that_are_none(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "plan.json").write_bytes(content)
    ran = run("prove", tmp_path / "spec.toml", "--after", tmp_path / "plan.json", "--host", "twin:ac922-4gpu")
    assert ran.code == 2
    in_order(ran)


def test_a_plan_for_another_host_proves_nothing_here(run: Run, tmp_path: Path) -> None:
    """Its devices are not here, or are others at the same addresses: it says nothing about them."""
    spec, plan = tmp_path / "spec.toml", tmp_path / "plan.json"
    spec.write_text('[cluster.red]\ndevices = ["0000:03:00.0"]\n')
    made = tmp_path / "box.toml"
    made.write_text('[cluster.red]\ndevices = ["0004:04:00.0", "0004:05:00.0"]\n')
    assert run("plan", made, "-o", plan, "--host", "twin:ac922-4gpu").code in (0, 1)
    ran = run("prove", spec, "--after", plan, "--host", "twin:pcie-box")
    assert ran.code == 2
    assert "another host" in ran.err
    text = plan.read_text().replace("10de:1db1", "10de:1db5")
    plan.write_text(text)
    ran = run("prove", made, "--after", plan, "--host", "twin:ac922-4gpu")
    assert ran.code == 2
    assert "not what was planned for" in ran.err


def test_a_record_does_nothing_to_the_terminal(run: Run, tmp_path: Path) -> None:
    """Names of a stranger's record are shown, not obeyed: no cursor moves, no line of its own."""
    lines = (
        "00:01.0 PCI bridge [0604]: \x1b[2J\x1b]0;title\x07Intel [8086:1901]\n\tKernel driver in use: a\x1b[1Ab\x9b\n"
    )
    (tmp_path / "lspci.txt").write_text(lines)
    for verb in (["show"], ["groups"], ["groups", "--format", "forum"], ["atoms"], ["doctor"], ["explain", "00:01.0"]):
        ran = run(*verb, "--host", tmp_path / "lspci.txt", "-v")
        # Whether an IOMMU serves the function is not told: its group is open.
        assert ran.code == (3 if verb[0] == "groups" else 0), ran.err
        assert not set(ran.out) & set("\x1b\x07\x9b"), verb
