"""Measure atoll beside lspci and lstopo: ``make bench``. Prints two tables in Markdown.

The folders lie in a temporary folder (``TMPDIR``); what is measured is a whole process each, with its files in the
page cache. Each round runs every program once, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from atoll.host.extent import Extent
from count import atoll_dwords, lspci_dwords, system_calls
from folder import write_folder
from hosts import machine
from peers import PEERS, Peer, missing

_CAPTURES = Path(__file__).resolve().parent.parent / "tests/data/kernel-captures"
_INSTALLED = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONUNBUFFERED": ""}
"""As installed programs run: compiled once, in a folder of the run's own."""
_OURS = ("atoll groups --json", "atoll show --json")


def main() -> int:
    """Run what the command line asks for; return 1 where a program failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 1000, 10000], help="functions of generated hosts")
    parser.add_argument("--captures", type=int, default=3, help="how many of the recorded kernels")
    parser.add_argument("--runs", type=int, default=5, help="rounds, of which the median counts")
    parser.add_argument("--seconds", type=float, default=60, help="how long one run may take")
    parser.add_argument("--counted", type=int, default=1000, help="hosts of up to so many functions are counted too")
    options = parser.parse_args()
    peers = [peer for peer in PEERS if not missing(peer)]
    for peer in PEERS:
        if missing(peer):
            print(missing(peer), file=sys.stderr)
    failed: set[str] = set()
    counts: list[list[str]] = []
    heads = ["host", "program", "median", "processor", "atoll groups takes", "and of the processor"]
    print(f"{_machine()}; {options.runs} rounds\n")
    _rule(heads)
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as place:
        for label, folder in _folders(Path(place), options.sizes, options.captures):
            print(f"measuring {label} …", file=sys.stderr)
            functions = len(os.listdir(folder / "sys/bus/pci/devices"))
            medians = _medians(peers, folder, options.runs, options.seconds, failed)
            _lines(_rows(f"{label}: {functions} functions", medians))
            ran = [peer for peer in peers if medians[peer.name] is not None]
            if functions <= options.counted:
                counts += _counts(label, ran, folder, functions)
            shutil.rmtree(folder)
    print()
    _rule(["host", "program", "system calls per function", "dwords per function"])
    _lines(counts)
    for name in sorted(failed):
        print(f"failed or took longer than {options.seconds:.0f} s: {name}", file=sys.stderr)
    return 1 if failed else 0


def _folders(place: Path, sizes: Sequence[int], captures: int) -> Iterator[tuple[str, Path]]:
    for size in sizes:
        folder = place / f"generated-{size}"
        write_folder(folder, machine(size))
        yield "generated", folder
    for archive in sorted(_CAPTURES.glob("*.tar.xz"))[:captures]:
        folder = place / archive.name.removesuffix(".tar.xz")
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="tar")
        yield folder.name, folder


class Taken(NamedTuple):
    """How long a run took, in seconds."""

    wall: float
    processor: float
    """User and system time: what a machine that is busy with other things slows less."""


def _medians(
    peers: Sequence[Peer], folder: Path, runs: int, seconds: float, failed: set[str]
) -> dict[str, Taken | None]:
    """Return the medians of each program; None for one that fails or takes too long."""
    taken: dict[str, list[Taken]] = {peer.name: [] for peer in peers}
    gone: set[str] = set()
    # The round before the first fills the caches.
    for _ in range(runs + 1):
        for peer in peers:
            if peer.name in gone:
                continue
            try:
                taken[peer.name].append(_seconds(peer, folder, seconds))
            except subprocess.SubprocessError:
                gone.add(peer.name)
    failed |= gone
    return {
        name: None if name in gone else Taken(*(statistics.median(column) for column in zip(*found[1:], strict=True)))
        for name, found in taken.items()
    }


def _seconds(peer: Peer, folder: Path, seconds: float) -> Taken:
    before, start = _processor(), time.perf_counter()
    with subprocess.Popen(
        peer.arguments(folder),
        env=os.environ | _INSTALLED | {"PYTHONPYCACHEPREFIX": f"{folder.parent}/bytecode"} | peer.variables(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        _end(process, seconds)
    # Groups that are otherwise than predicted (1), or a record that lacks something (3), are a result.
    if process.returncode not in ((0, 1, 3) if peer.name.startswith("atoll ") else (0,)):
        raise subprocess.CalledProcessError(process.returncode, peer.name)
    return Taken(time.perf_counter() - start, _processor() - before)


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for its end; what takes longer is killed.

    ``Popen.wait`` with a time limit looks every 50 ms at last, which is more than some programs take in all.
    """
    end = os.pidfd_open(process.pid)
    try:
        if not select.select([end], [], [], seconds)[0]:
            process.kill()
            raise subprocess.TimeoutExpired(process.args, seconds)
    finally:
        os.close(end)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _rows(label: str, medians: dict[str, Taken | None]) -> list[list[str]]:
    rows = []
    for name, taken in medians.items():
        times = ["failed", ""]
        if taken is not None:
            times = [f"{taken.wall * 1000:.0f} ms", f"{taken.processor * 1000:.0f} ms"]
        ours = medians.get(_OURS[0])
        ratios = ["", ""]
        if name not in _OURS and ours is not None and taken is not None:
            ratios = [f"{mine / theirs:.2f} of it" for mine, theirs in zip(ours, taken, strict=True)]
        rows.append([label, name, *times, *ratios])
    return rows


def _counts(label: str, peers: Sequence[Peer], folder: Path, functions: int) -> list[list[str]]:
    if not shutil.which("strace"):
        print("strace is not installed, so nothing is counted (Debian: apt install strace)", file=sys.stderr)
        return []
    rows = []
    for peer in peers:
        if peer.name == "atoll groups --json":
            dwords = f"{atoll_dwords(folder, Extent.ROUTING) / functions:.1f}"
        elif peer.package == "":
            dwords = f"{atoll_dwords(folder, Extent.ALL) / functions:.1f}"
        else:
            dwords = f"{lspci_dwords(peer, folder) / functions:.1f}" if peer.package == "pciutils" else ""
        calls = f"{system_calls(peer, folder) / functions:.1f}"
        rows.append([f"{label}: {functions} functions", peer.name, calls, dwords])
    return rows


def _rule(heads: Sequence[str]) -> None:
    _lines([heads, ["---"] * len(heads)])


def _lines(rows: Sequence[Sequence[str]]) -> None:
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def _machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown processor",
    )
    return f"{os.cpu_count()} processors ({model}), load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}"


if __name__ == "__main__":
    sys.exit(main())
