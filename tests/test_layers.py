"""The layers of docs/architecture.md: an arrow only ever points down, and what reasons does no I/O."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"pci"}),
    frozenset({"host"}),
    frozenset({"fabric"}),
    frozenset({"controls", "events"}),
    frozenset({"isolation"}),
    frozenset({"plan"}),
    frozenset({"guard", "act", "vfio"}),
    frozenset({"report", "export"}),
    frozenset({"cli"}),
)
"""Lowest first. Packages of one layer may use each other, but no two modules may import each other in a circle."""

EVERYWHERE = frozenset({"atoll", "atoll.errors"})
"""Modules below all layers."""

TWIN_MAY_USE = ("atoll.twin", "atoll.pci", "atoll.errors", "atoll.host.tree")
"""The twin is the second opinion: it must not share the reasoning that it checks."""

PURE = (
    "atoll.pci",
    "atoll.host.model",
    "atoll.host.fact",
    "atoll.host.tree",
    "atoll.fabric",
    "atoll.controls",
    "atoll.events",
    "atoll.isolation",
    "atoll.plan",
    "atoll.errors",
)

IO_MODULES = """
    asyncio concurrent ctypes datetime fcntl glob http importlib io logging mmap multiprocessing os
    pathlib platform random resource secrets select selectors shutil signal socket subprocess sys
    tarfile tempfile threading time urllib uuid
"""
IMPURE_IMPORTS = frozenset(IO_MODULES.split())
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__"})

Modules = Mapping[str, ast.Module]


def parse(folder: Path) -> dict[str, ast.Module]:
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return modules


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def imports(module: ast.Module, modules: Modules) -> Iterator[str]:
    """Yield the modules that one imports, wherever in it; ``from a import b`` gives ``a.b`` where that is a module."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules else node.module


def layer(name: str) -> tuple[int, str] | None:
    parts = name.split(".")
    if parts[0] != "atoll" or name in EVERYWHERE or len(parts) < 2:
        return None
    for number, packages in enumerate(LAYERS):
        if parts[1] in packages:
            return number, parts[1]
    return None


def upward(modules: Modules) -> list[str]:
    """Return every import that points up."""
    found = []
    for name, module in modules.items():
        here = layer(name)
        if here is None:
            continue
        for target in imports(module, modules):
            there = layer(target)
            if there is not None and there[0] > here[0]:
                found.append(f"{name} imports {target}, which is above it")
            elif within(target, ("atoll.twin",)) and not within(name, ("atoll.cli", "atoll.twin")):
                found.append(f"{name} imports {target}: only the command line and the tests know of twins")
    return found


def circles(modules: Modules) -> list[str]:
    """Return every circle of imports, as ``a -> b -> a``. A package that re-exports its own modules makes none."""
    targets = {
        name: sorted({t for t in imports(module, modules) if t in modules and not within(name, (t,))})
        for name, module in modules.items()
    }
    found = []
    finished: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            found.append(" -> ".join((*trail[trail.index(name) :], name)))
        elif name not in finished:
            for target in targets[name]:
                walk(target, (*trail, name))
            finished.add(name)

    for name in sorted(modules):
        walk(name, ())
    return found


def unlayered(modules: Modules) -> list[str]:
    """Return modules that stand in no layer."""
    known = {*EVERYWHERE, "atoll.__main__"}
    return [name for name in modules if name not in known and layer(name) is None and not within(name, ("atoll.twin",))]


def nosy(modules: Modules) -> list[str]:
    """Return every import by which the twin would share what it is to check."""
    return [
        f"{name} imports {target}"
        for name, module in modules.items()
        if within(name, ("atoll.twin",))
        for target in imports(module, modules)
        if within(target, ("atoll",)) and target != "atoll" and not within(target, TWIN_MAY_USE)
    ]


def impure(modules: Modules) -> list[str]:
    """Return what pure modules do that depends on more than their arguments, through whatever they import."""
    found = []
    seen: set[str] = set()
    waiting = [(name, name) for name in modules if within(name, PURE)]
    while waiting:
        name, because = waiting.pop()
        if name in seen or name not in modules:
            continue
        seen.add(name)
        chain = name if name == because else f"{because} imports {name}, which"
        for target in imports(modules[name], modules):
            if target.partition(".")[0] in IMPURE_IMPORTS:
                found.append(f"{chain} imports {target}")
            elif within(target, ("atoll",)):
                waiting.append((target, name))
        for node in ast.walk(modules[name]):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
                found.append(f"{chain} calls {node.func.id} in line {node.lineno}")
            elif isinstance(node, ast.Global):
                found.append(f"{chain} has a global in line {node.lineno}")
    return sorted(found)


@pytest.fixture(scope="module")
def atoll() -> dict[str, ast.Module]:
    modules = parse(SOURCE)
    assert len(modules) > 10
    return modules


def test_arrows_point_down(atoll: dict[str, ast.Module]) -> None:
    assert upward(atoll) == []


def test_no_circles(atoll: dict[str, ast.Module]) -> None:
    assert circles(atoll) == []


def test_every_module_has_a_layer(atoll: dict[str, ast.Module]) -> None:
    assert unlayered(atoll) == []


def test_the_twin_is_a_second_opinion(atoll: dict[str, ast.Module]) -> None:
    assert nosy(atoll) == []


def test_what_reasons_is_pure(atoll: dict[str, ast.Module]) -> None:
    assert impure(atoll) == []


def made(**sources: str) -> dict[str, ast.Module]:
    return {"atoll." + name.replace("__", "."): ast.parse(text) for name, text in sources.items()}


def test_an_arrow_that_points_up_is_found() -> None:
    assert upward(made(pci__acs="from atoll.host.model import Host", host__model=""))
    assert upward(made(report__show="def f():\n    from atoll.cli import main", cli__main=""))
    assert upward(made(act__run="from atoll.twin import Twin", twin=""))
    assert not upward(made(cli__twin="from atoll.twin import Twin", twin="", controls="import atoll.events", events=""))


def test_a_circle_is_found() -> None:
    both = made(controls__acs="import atoll.events.reset", events__reset="import atoll.controls.acs")
    assert circles(both) == ["atoll.controls.acs -> atoll.events.reset -> atoll.controls.acs"]
    assert not circles(
        made(controls__acs="import atoll.events.reset", events__reset="", events="import atoll.events.reset")
    )


def test_a_module_without_a_layer_is_found() -> None:
    assert unlayered(made(helpers="")) == ["atoll.helpers"]


def test_a_twin_that_copies_is_found() -> None:
    assert nosy(made(twin__traffic="from atoll.fabric import route", fabric=""))
    assert nosy(made(twin__files="from atoll.host import read", host__read=""))
    assert not nosy(made(twin__files="from atoll.host.tree import Tree\nfrom atoll.twin import bus", host__tree=""))


def test_io_in_what_reasons_is_found() -> None:
    assert impure(made(fabric__route="import time"))
    assert impure(made(fabric__route="from os import path"))
    assert impure(made(plan__file="from atoll.host.trees.folder import read", host__trees__folder="import pathlib"))
    assert impure(made(isolation__proof="def f():\n    return open('x')"))
    assert impure(made(isolation__proof="n = 0\ndef f():\n    global n\n    n += 1"))
    assert not impure(
        made(isolation__proof="import heapq\nfrom atoll.host.model import Host", host__model="import enum")
    )
