"""Documents that people write and that atoll wrote: cluster files, plans, twins, journals, manifests."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from atoll.act.database_layout import PATH
from atoll.act.journal import Journal, read_journal
from atoll.act.recover import recover
from atoll.cli.session import is_twin_file, load_twin, new_twin
from atoll.cli.spec import read_clusters, read_plan
from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.capture.make import capture
from atoll.host.model import Host
from atoll.host.trees.memory import FileEntry, FolderEntry, MemoryTree
from atoll.isolation.moment import state
from atoll.plan.document import to_document
from atoll.plan.effects import after_steps
from atoll.plan.fingerprint import check_planned_for
from atoll.plan.planner import plan
from atoll.plan.spec import read
from atoll.report.prove import prove_document
from atoll.twin import Twin
from fuzz.answers import two_tenants
from fuzz.target import Target
from fuzz.targets.seeds import CAPTURES, capture_tree, few_functions

__all__ = ["DOCUMENTS"]


@contextlib.contextmanager
def _file(data: bytes) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(prefix="atoll-fuzz-") as file:
        file.write(data)
        file.flush()
        yield file.name


@cache
def _host() -> Host:
    return read_host(Twin.new("ac922-4gpu"), registers=registers)


def _clusters(data: bytes) -> None:
    with _file(data) as name:
        _, clusters = read_clusters(name, _host())
    statement = state(Topology(_host()), present(_host()), clusters, Policy.STRICT, moment="now")
    prove_document(_host(), clusters, statement)


def _cluster_files() -> Iterator[bytes]:
    gpus = [a for a, function in _host().functions.items() if function.device == 0x1DB1]
    yield two_tenants(gpus[0], gpus[2]).encode()
    yield (
        f'[cluster.red]\ndevices = ["{gpus[0]}", "gpu[1]"]\nhandover = "held"\n[cluster."b\\u0061c"]\n'
        f"devices = ['{gpus[2]}']\ndriver = \"vfio-pci\"\n[policy]\nsurvive = {{ tenant = 1 }}\nassumed = false\n"
        "essential = []\n"
    ).encode()


def _plan(data: bytes) -> None:
    with _file(data) as name:
        found = read_plan(name)
    check_planned_for(found, _host())
    host, settings = after_steps(_host(), present(_host()), found.steps)
    Topology(host)
    assert settings is not None


def _plans() -> Iterator[bytes]:
    gpus = [a for a, function in _host().functions.items() if function.device == 0x1DB1]
    text = two_tenants(gpus[0], gpus[2])
    spec = read(text, _host(), name="spec")
    found = plan(Topology(_host()), present(_host()), spec.clusters, Policy.STRICT, spec=text)
    document = to_document(found)
    yield json.dumps(document).encode()
    document["steps"] = document["steps"][:1]
    yield json.dumps(document).encode()


def _twin(data: bytes) -> None:
    with _file(data) as name:
        if not is_twin_file(Path(name)):
            return
        twin = load_twin(Path(name))
    host = read_host(twin, registers=registers)
    assert host.functions
    recover(twin, dry_run=True)


def _twins() -> Iterator[bytes]:
    twin = new_twin("ac922-4gpu")
    with tempfile.TemporaryDirectory(prefix="atoll-fuzz-") as folder:
        path = Path(folder) / "twin"
        twin.save(path)
        yield path.read_bytes()


@cache
def _journal_bytes() -> bytes:
    twin = Twin.new("ac922-4gpu")
    gpus = [a for a, function in _host().functions.items() if function.device == 0x1DB1]
    text = two_tenants(gpus[0], gpus[2])
    spec = read(text, _host(), name="spec")
    made = plan(Topology(_host()), present(_host()), spec.clusters, Policy.STRICT, spec=text)
    journal = Journal(twin)
    journal.begin("apply", spec=text, plan=json.dumps(to_document(made)))
    for step in made.steps[:3]:
        journal.complete(journal.intend(step, {"fingerprint": "a", "driver": None}), {"driver": "vfio-pci"})
    journal.close()
    return twin.read(PATH)


def _journal(data: bytes) -> None:
    twin = Twin.new("ac922-4gpu")
    twin.own_files[PATH] = data
    twin.kernel.changed()
    read_journal(twin)
    recover(twin, dry_run=True)


def _journal_rows(data: bytes) -> None:
    """A sound database with rows of a stranger's: the input replaces texts of the first rows."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.deserialize(_journal_bytes())
    fields = data.split(b"\xff\xff")
    places = (
        *("entry.step", "entry.before", "entry.after", "entry.state", "run.plan", "run.spec", "run.boot", "run.verb"),
        *("entry.time", "run.begun", "run.machine_boot", "run.started", "run.pid"),
    )
    for number, field in enumerate(fields[: len(places)]):
        table, column = places[number].split(".")
        if field:
            value: object = field.decode("utf-8", "replace")
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = 1", (value,))
    content = connection.serialize()
    connection.close()
    _journal(content)


def _rows() -> Iterator[bytes]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.deserialize(_journal_bytes())
    step, before, after, reached = connection.execute("SELECT step, before, after, state FROM entry").fetchone()
    made, spec = connection.execute("SELECT plan, spec FROM run").fetchone()
    connection.close()
    yield b"\xff\xff".join(text.encode() for text in (step, before, after, reached, made[:2000], spec))
    yield step.encode()


@cache
def _few_functions() -> MemoryTree:
    base = capture_tree(CAPTURES[1])
    return few_functions(base, *base.list("sys/bus/pci/devices")[:3], without=lambda path: "/iommu" in path)


def _manifest(data: bytes) -> None:
    """A capture of a capture tells what that one said of itself."""
    tree = MemoryTree("fuzz", FolderEntry(_few_functions().root))
    tree.add("manifest.json", FileEntry(data))
    host = read_host(tree)
    assert len(host.functions) == 3
    for secret in (None, b"secret"):
        json.loads(capture(tree, host, secret=secret).tree.read("manifest.json"))


@cache
def _kernel_files() -> tuple[tuple[str, bytes], ...]:
    twin = Twin.new("ac922-4gpu")
    return tuple((path, twin.read(path)) for path in ("proc/cmdline", "proc/version"))


def _registers(data: bytes) -> None:
    tree = MemoryTree("fuzz")
    for path, content in _kernel_files():
        tree.add(path, FileEntry(content))
    tree.add("records/registers.json", FileEntry(data))
    capture(tree, read_host(tree, registers=registers))


_WORDS = (b'{"schema": "atoll.', b"null", b"true", b"1e999", b"-1", b"9" * 5000, b"[" * 2000, b'"\\ud800"', b"\\u0000")

DOCUMENTS = (
    Target("cluster-file", _clusters, _cluster_files, (b"[cluster.", b'devices = ["*"]', b"[[", *_WORDS)),
    Target("plan", _plan, _plans, _WORDS),
    Target("twin", _twin, _twins, _WORDS, longest=1 << 17),
    Target("journal", _journal, lambda: (_journal_bytes(),), (b"SQLite format 3\0",)),
    Target("journal-rows", _journal_rows, _rows, (b"\xff\xff", *_WORDS)),
    Target(
        "manifest",
        _manifest,
        lambda: (b'{"schema": "atoll.capture/1", "source": "by-id/a\\"b", "missing": []}',),
        (b"by-id/", b'\\"', *_WORDS),
        longest=1 << 13,
    ),
    Target(
        "registers",
        _registers,
        lambda: (b'{"schema": "atoll.registers/1", "registers": {"0004:04:00.0": {"0:0xa00148": {"value": "0x1"}}}}',),
        _WORDS,
        longest=1 << 13,
    ),
)
