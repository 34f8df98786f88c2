"""Start-up is part of the interface."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

BUDGET_SECONDS = 0.060
"""What ``atoll --version`` may cost beyond a bare interpreter, of the processor's time."""

HEAVY = {"argparse", "dataclasses", "inspect", "json", "typing", "tarfile", "subprocess", "atoll.host", "atoll.twin"}
"""What answering ``--version`` has no use for."""


def atoll() -> list[str]:
    script = Path(sys.executable).with_name("atoll")
    return [str(script)] if script.exists() else [sys.executable, "-m", "atoll"]


def seconds(command: list[str]) -> float:
    """What a command costs of the processor's time: what else the machine does makes no difference."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_version_answers_at_once() -> None:
    bare = [sys.executable, "-c", "pass"]
    seconds([*atoll(), "--version"]), seconds(bare)  # compiled and in the page cache
    beyond = 0.0
    for _ in range(3):  # caches that others fill still add to it
        beyond = statistics.median(seconds([*atoll(), "--version"]) - seconds(bare) for _ in range(11))
        if beyond <= BUDGET_SECONDS:
            return
    raise AssertionError(
        f"{beyond * 1000:.0f} ms beyond a bare interpreter; see python -X importtime -m atoll --version"
    )


def test_version_imports_little() -> None:
    code = "import sys; from atoll.cli.main import main; main(['--version']); print(*sys.modules, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], check=True, capture_output=True, text=True
    )
    assert run.stdout.startswith("atoll ")
    assert (set(run.stderr.split()) - set(bare.stdout.split())) & HEAVY == set()


def test_the_end_is_not_searched() -> None:
    """Objects that are frozen are in no search of the collector's; what was registered first is called last."""
    code = (
        "import atexit, gc; atexit.register(lambda: print('frozen', gc.get_freeze_count()))\n"
        "from atoll.cli.main import main\n"
        "main(['doctor', '--host', 'twin:dgx1v'])"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    word, count = run.stdout.splitlines()[-1].split()
    assert word == "frozen"
    assert int(count) > 10_000


UNUSED = {
    "pathlib",
    "shutil",
    "lzma",
    "tarfile",
    "atoll.host.trees.archive",
    "atoll.host.trees.live",
    "atoll.host.records.pasted.lines",
}
"""What a folder without archives, pasted texts and records of links has no use for."""


def test_groups_of_a_folder_import_no_readers_of_other_records(tmp_path: Path) -> None:
    """Isolated from the environment: without ``site``'s and other packages' own imports."""
    (tmp_path / "sys/bus/pci/devices").mkdir(parents=True)
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); bare = set(sys.modules); from atoll.cli.main import main; "
        "main(sys.argv[1:]); print(*set(sys.modules) - bare, file=sys.stderr)"
    )
    source = Path(__file__).resolve().parents[1] / "src"
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(source), "groups", "--json", "--host", str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert '"schema": "atoll.groups/1"' in run.stdout
    assert "atoll.host.trees.folder" in run.stderr.split()
    assert set(run.stderr.split()) & UNUSED == set()
