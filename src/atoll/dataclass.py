"""Data classes that are made in a third of the time: ``dataclass``, ``field`` and ``replace``.

A verb that reads a host and reasons about it has some sixty classes of values. For each, the standard library compiles
six methods, and it imports ``inspect`` to do so: of the start of a program, that was a good third. Here ``__init__``
alone is compiled, and fills the slots of a frozen value past its ``__setattr__``; all else takes the fields as a tuple.

To a type checker these are the standard library's own, whose ``fields``, ``asdict`` and ``replace`` take what is made
here. What is left out: classes without slots, fields that are inherited.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from operator import attrgetter, ge, gt, le, lt
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace

__all__ = ["dataclass", "field", "replace"]

T = TypeVar("T")
Holder = Callable[[object], tuple[Any, ...]]

_MISSING: Any = object()
_MADE: Any = object()
"""The default of a field for which a factory makes one."""
_ORDER = {"__lt__": lt, "__le__": le, "__gt__": gt, "__ge__": ge}


class _Field(NamedTuple):
    """What is said of a field beside its name and its type."""

    default: Any
    factory: Any = _MISSING
    compare: bool = True


def _field(*, default: Any = _MISSING, default_factory: Any = _MISSING, compare: bool = True) -> _Field:
    return _Field(default, default_factory, compare)


def _dataclass(*, slots: bool, frozen: bool = False, order: bool = False) -> Callable[[type], type]:
    assert slots, "a class without slots is the standard library's to make"
    return lambda plain: _made(plain, frozen=frozen, order=order)


def _replace(value: T, /, **changes: Any) -> T:
    """Return a value like this one with other fields. Raises TypeError for one that it does not have."""
    cls: Any = type(value)
    return cast(T, cls(**{**{name: getattr(value, name) for name in cls.__match_args__}, **changes}))


def _made(plain: type, *, frozen: bool, order: bool) -> type:
    """Return the class again, with slots for its fields and with the methods that it does not have itself."""
    assert not any("__dataclass_fields__" in vars(above) for above in plain.__mro__), "fields are not inherited here"
    members = dict(vars(plain))
    hints = {name: hint for name, hint in plain.__annotations__.items() if not str(hint).startswith("ClassVar[")}
    fields = {}
    for name in hints:
        said = members.pop(name, _MISSING)
        fields[name] = said if isinstance(said, _Field) else _Field(said)
    for name in ("__dict__", "__weakref__"):
        members.pop(name, None)
    members["__slots__"] = members["__match_args__"] = tuple(fields)
    for name, method in _methods(fields, frozen=frozen, order=order).items():
        members.setdefault(name, method)
    for name in ("__dataclass_fields__", "__dataclass_params__"):
        members[name] = _Standard(hints, fields, frozen=frozen, order=order)
    cls: Any = type(plain)(plain.__name__, plain.__bases__, members)
    cls.__qualname__ = plain.__qualname__
    if "__init__" not in members:
        cls.__init__ = _initializer(cls, fields, frozen=frozen)
        cls.__init__.__annotations__ = hints | {"return": "None"}
        cls.__init__.__qualname__ = f"{cls.__qualname__}.__init__"
    return cast(type, cls)


def _initializer(cls: type, fields: Mapping[str, _Field], *, frozen: bool) -> Callable[..., None]:
    """Compile ``__init__``; with ``frozen`` it fills the slots past the value's own ``__setattr__``."""
    given: dict[str, Any] = {}
    head, body = ["self"], []
    for name, said in fields.items():
        default, value = said.default, name
        if said.factory is not _MISSING:
            default, given[f"make_{name}"] = _MADE, said.factory
            value = f"make_{name}() if {name} is default_{name} else {name}"
        if default is not _MISSING:
            given[f"default_{name}"] = default
        head.append(name if default is _MISSING else f"{name}=default_{name}")
        if frozen:
            given[f"set_{name}"] = vars(cls)[name].__set__
        body.append(f"set_{name}(self, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    lines = "\n  ".join(body or ["pass"])
    source = f"def outer({', '.join(given)}):\n def __init__({', '.join(head)}):\n  {lines}\n return __init__"
    scope: dict[str, Any] = {}
    exec(source, vars(sys.modules[cls.__module__]), scope)
    made: Callable[..., None] = scope["outer"](**given)
    return made


def _methods(fields: Mapping[str, _Field], *, frozen: bool, order: bool) -> dict[str, Any]:
    """Return what shows values, compares them by their fields, and keeps those of a frozen one as they are."""
    names = tuple(fields)
    held = _holder(tuple(name for name, said in fields.items() if said.compare))

    def __repr__(self: object) -> str:
        return f"{self.__class__.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def __eq__(self: object, other: object) -> bool:
        return held(self) == held(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: object) -> int:
        return hash(held(self))

    def __getstate__(self: object) -> list[object]:
        return [getattr(self, name) for name in names]

    def __setstate__(self: object, state: list[object]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    methods: dict[str, Any] = {"__repr__": recursive_repr()(__repr__), "__eq__": __eq__, "__hash__": None}
    if order:
        methods |= {name: _comparing(held, compare) for name, compare in _ORDER.items()}
    if frozen:
        methods |= {"__hash__": __hash__, "__setattr__": _refuse, "__delattr__": _refuse}
        methods |= {"__getstate__": __getstate__, "__setstate__": __setstate__}
    return methods


def _holder(names: tuple[str, ...]) -> Holder:
    """Return what tells these fields of a value, as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple([getattr(value, name) for name in names])


def _comparing(held: Holder, compare: Callable[[Any, Any], bool]) -> Callable[[object, object], bool]:
    return lambda self, other: compare(held(self), held(other)) if other.__class__ is self.__class__ else NotImplemented


def _refuse(value: object, name: str, wanted: object = None) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot change field {name!r} of {value.__class__.__qualname__}")


class _Standard:
    """What the standard library knows a data class of its own by, made when it asks."""

    def __init__(self, hints: Mapping[str, Any], fields: Mapping[str, _Field], *, frozen: bool, order: bool) -> None:
        self._hints, self._fields, self._frozen, self._order = hints, fields, frozen, order
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, value: object, owner: type) -> Any:
        from dataclasses import MISSING, make_dataclass
        from dataclasses import field as standard_field

        listed = []
        for name, said in self._fields.items():
            told = {"default": said.default, "default_factory": said.factory}
            held: dict[str, Any] = {key: MISSING if each is _MISSING else each for key, each in told.items()}
            listed.append((name, self._hints[name], standard_field(compare=said.compare, **held)))
        made = make_dataclass(owner.__name__, listed, frozen=self._frozen, order=self._order)
        return getattr(made, self._name)


if not TYPE_CHECKING:
    dataclass, field, replace = _dataclass, _field, _replace
