"""Data classes of our own against the standard library's: each does what its fields and parameters say there."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

from atoll.dataclass import dataclass, field, replace
from atoll.host.fact import Known
from atoll.host.model import Function, Holder, Host, KernelRelease, LinkEnd
from atoll.pci.address import Address

SOURCE = Path(__file__).resolve().parents[1] / "src"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class Frozen(Generic[T]):
    """One of each kind of field."""

    first: T
    second: int = 2
    aside: str = field(default="x", compare=False)
    many: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Open:
    """What can be changed."""

    one: int
    held: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Prepared:
    """What is made ready once its fields are there."""

    one: int
    twice: int = 0

    def __post_init__(self) -> None:
        self.twice = 2 * self.one


@dataclass(frozen=True, slots=True)
class Empty:
    """No field at all."""


@dataclasses.dataclass(frozen=True, order=True)
class Standard(Generic[T]):
    """``Frozen``, by the standard library."""

    first: T
    second: int = 2
    aside: str = dataclasses.field(default="x", compare=False)
    many: list[int] = dataclasses.field(default_factory=list)


def ours() -> list[type[Any]]:
    """All classes of atoll that ``atoll.dataclass`` makes, from the modules that name it."""
    found = []
    for path in sorted((SOURCE / "atoll").rglob("*.py")):
        if "from atoll.dataclass import" in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
            module = import_module(name.removesuffix(".__init__"))
            for value in vars(module).values():
                if isinstance(value, type) and value.__module__ == module.__name__ and dataclasses.is_dataclass(value):
                    found.append(value)
    return found


def test_every_class_takes_what_the_standard_library_would_let_it_take() -> None:
    classes = ours()
    assert {Function, Host, Known, Holder, LinkEnd} <= set(classes)
    for cls in classes:
        fields = dataclasses.fields(cls)
        parameters = inspect.signature(cls).parameters
        assert [each.name for each in fields] == list(parameters) == list(cls.__slots__) == list(cls.__match_args__), (
            cls
        )
        for each in fields:
            given = parameters[each.name].default is not inspect.Parameter.empty
            assert given == (
                each.default is not dataclasses.MISSING or each.default_factory is not dataclasses.MISSING
            ), (cls, each.name)
            if each.default is not dataclasses.MISSING:
                assert parameters[each.name].default is each.default
        assert not hasattr(cls, "__dict__") or "__dict__" not in vars(cls)


ARGUMENTS: list[tuple[Any, ...]] = [(1,), (1, 3), (2, 2, "y"), (1, 2, "y", [5]), (1, 2, "x", [5]), (2,)]


def test_values_compare_and_show_as_the_standard_librarys() -> None:
    for one in ARGUMENTS:
        mine, theirs = Frozen(*one), Standard(*one)
        assert repr(mine) == repr(theirs).replace("Standard", "Frozen")
        assert dataclasses.asdict(mine) == dataclasses.asdict(theirs)
        assert dataclasses.astuple(mine) == dataclasses.astuple(theirs)
        for other in ARGUMENTS:
            assert (mine == Frozen(*other)) == (theirs == Standard(*other))
            assert (mine < Frozen(*other), mine <= Frozen(*other)) == (
                theirs < Standard(*other),
                theirs <= Standard(*other),
            )
            assert (mine > Frozen(*other), mine >= Frozen(*other)) == (
                theirs > Standard(*other),
                theirs >= Standard(*other),
            )
        standard: object = theirs
        assert mine != standard
        with pytest.raises(TypeError):
            assert mine < theirs  # type: ignore[operator]


def test_equal_values_hash_as_their_fields_do() -> None:
    end = (1, "text")
    assert hash(Known(*end)) == hash(end)
    assert hash(KernelRelease(6, 1, "6.1.0")) == hash(KernelRelease(6, 1, "6.1.0-13")) == hash((6, 1))
    assert hash(Empty()) == hash(())
    assert Empty() == Empty()
    with pytest.raises(TypeError):
        hash(Open(1))


def test_what_is_frozen_stays_as_it_is() -> None:
    value = Frozen(1)
    for name in ("first", "aside", "other"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, 5)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(value, name)
    opened = Open(1)
    opened.one = 2
    assert opened == Open(2)
    with pytest.raises(AttributeError):
        opened.other = 5  # type: ignore[attr-defined]


def test_each_value_has_a_default_of_its_own() -> None:
    one, other = Open(1), Open(1)
    one.held["a"] = 1
    assert (other.held, Open(1, {"b": 2}).held) == ({}, {"b": 2})


def test_a_value_makes_itself_ready() -> None:
    assert Prepared(3).twice == 6


def test_what_is_left_out_is_refused() -> None:
    with pytest.raises(AssertionError):

        @dataclass(slots=True)
        class Below(Open):
            more: int = 0


def test_values_are_copied_whole() -> None:
    for value in (Frozen(1, 2, "y", [3]), Open(1, {"a": 2}), Empty(), Known(Address(0, 1, 2, 3), "there")):
        assert (
            repr(copy.copy(value))
            == repr(copy.deepcopy(value))
            == repr(pickle.loads(pickle.dumps(value)))
            == repr(value)
        )


@pytest.mark.parametrize("replacing", [replace, dataclasses.replace])
def test_a_replaced_field_leaves_the_others(replacing: Any) -> None:
    assert replacing(Frozen(1, 5, "y", [3]), second=6, aside="z") == Frozen(1, 6, "z", [3])
    assert replacing(Known(1, "there"), value=2) == Known(2, "there")
    assert replacing(Standard(1, 5), second=6) == Standard(1, 6)
    with pytest.raises(TypeError):
        replacing(Frozen(1), other=5)


def test_a_pattern_takes_fields_by_place() -> None:
    match Frozen(1, 5):
        case Frozen(first, second):
            assert (first, second) == (1, 5)
        case _:
            raise AssertionError
