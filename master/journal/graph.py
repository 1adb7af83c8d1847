"""Turns the values of a replica, its whole state too, into CBOR and back, exactly (docs/spec, clause EL-3).

A value becomes a table of rows, one for each container or object, the outermost first; an entry that is a container
itself is a reference to its row. What stands twice in memory stands once in the table. Classes are named once with the
names of their fields, so that a log of another version is refused rather than misread. Reading runs no code of
the classes: it makes empty objects of the core's own modules and sets their fields.
"""

from __future__ import annotations

import enum
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from types import MethodType
from typing import Any, Final, TypeAlias

from wire import cbor
from wire.types import shown

Rows: TypeAlias = list[cbor.Value]

MODULES: Final = ("master.consensus.", "master.journal.", "wire.")
"""Where the classes of a log may come from."""
_LIST, _TUPLE, _DICT, _SET, _FROZEN, _DEQUE, _ENUM, _OBJECT, _METHOD, _OUTSIDE = range(10)
_FROZEN_KINDS: Final = (tuple, frozenset)
_SCALARS: Final = frozenset({int, bytes, str, bool, type(None)})
_MAKERS: Final[dict[int, Callable[[list[Any]], Any]]] = {_TUPLE: tuple, _SET: set, _FROZEN: frozenset}


class JournalError(Exception):
    """A log is damaged, or of another version of the software."""


class Encoder:
    """Writes values; what it has said of a class it does not repeat, so a reader needs all that it wrote."""

    def __init__(
        self,
        outside: Mapping[str, object] | None = None,
        folded: Mapping[type, Callable[[Any], cbor.Value]] | None = None,
        *,
        is_expanded: bool = False,
    ) -> None:
        """Begin.

        Args:
            outside: What is not written but put in its place by the reader, by name: functions.
            folded: Stands for an object of that class; the reader gets what it returns.
            is_expanded: Write values that never change as often as they are met, so that equal graphs give equal
                bytes, whichever of their equal parts are one object.
        """
        self._is_expanded = is_expanded
        self._outside = {id(value): name for name, value in (outside or {}).items()}
        self._folded = folded or {}
        self._classes: dict[tuple[object, ...], int] = {}
        self._names: dict[type, tuple[str, ...]] = {}

    def encode(self, value: object) -> list[cbor.Value]:
        """Return [classes not named before, rows]; the first row is ``value``, a container or an object.

        Raises:
            TypeError: Something in it has no place in a log.
        """
        self._new: Rows = []
        self._rows: Rows = []
        self._seen: dict[int, cbor.Value] = {}
        self._kept: list[object] = []
        self._entry(value)
        return [self._new, self._rows]

    def _entry(self, value: object) -> cbor.Value:
        kind = type(value)
        if kind in _SCALARS:
            return value  # type: ignore[return-value]
        known = self._seen.get(id(value))
        if known is not None:
            return known
        if kind in self._folded:
            return self._folded[kind](value)
        place = len(self._rows)
        reference: cbor.Value = [place]
        if not self._is_expanded or not _is_frozen(kind):
            self._seen[id(value)] = reference
        self._kept.append(value)  # an id is unique only while its object lives
        self._rows.append(None)
        self._rows[place] = self._row(kind, value)
        return reference

    def _row(self, kind: type, value: Any) -> cbor.Value:  # noqa: ANN401 anything may be asked for
        if kind in self._names:
            return self._object(kind, value)
        if kind in _CONTAINERS:
            tag, parts = _CONTAINERS[kind]
            return [tag, *[part if type(part) in _SCALARS else self._entry(part) for part in parts(value)]]
        return self._special(kind, value)

    def _special(self, kind: type, value: Any) -> cbor.Value:  # noqa: ANN401 as above
        if id(value) in self._outside:
            return [_OUTSIDE, self._outside[id(value)]]
        if isinstance(value, enum.Enum):
            return [_ENUM, self._class(kind, ()), value.name]
        if isinstance(value, MethodType):
            return [_METHOD, self._entry(value.__self__), value.__name__]
        if not kind.__module__.startswith(MODULES):
            raise TypeError(f"a {kind.__module__}.{kind.__qualname__} has no place in the event log")
        self._names[kind] = slots_of(kind)
        return self._object(kind, value)

    def _object(self, kind: type, value: object) -> cbor.Value:
        names = self._names[kind] or tuple(vars(value))
        parts = [getattr(value, name) for name in names]
        known = self._class(kind, names)
        return [_OBJECT, known, *[part if type(part) in _SCALARS else self._entry(part) for part in parts]]

    def _class(self, kind: type, names: tuple[str, ...]) -> int:
        key = (kind, names)
        number = self._classes.get(key)
        if number is None:
            number = self._classes[key] = len(self._classes)
            self._new.append([f"{kind.__module__}:{kind.__qualname__}", *names])
        return number


class Decoder:
    """Reads what one `Encoder` wrote, from its first value on."""

    def __init__(self, outside: Mapping[str, object] | None = None) -> None:
        self._outside = outside or {}
        self._classes: list[tuple[type, tuple[str, ...]]] = []

    def decode(self, classes: object, rows: object) -> Any:  # noqa: ANN401 whatever was written
        """Return the value.

        Raises:
            JournalError: It is not what an `Encoder` of this version of the software wrote.
        """
        try:
            for name, *fields in _list(classes):
                self._classes.append((_find(name), tuple(fields)))
            self._rows = _list(rows)
            self._made: dict[int, Any] = {}
            return self._make(0)
        except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise JournalError(f"a value is malformed: {shown(str(error))}") from error

    def _entry(self, entry: Any) -> Any:  # noqa: ANN401 whatever was written
        return self._make(*entry) if type(entry) is list else entry

    def _make(self, place: int) -> Any:  # noqa: ANN401 whatever was written
        if place in self._made:
            return self._made[place]
        tag, *parts = _list(self._rows[place])
        if tag in _MAKERS:
            made = _MAKERS[tag]([self._entry(part) for part in parts])
        elif tag == _OUTSIDE:
            made = self._outside[parts[0]]
        elif tag == _ENUM:
            made = self._classes[parts[0]][0][parts[1]]
        elif tag == _METHOD:
            made = getattr(self._entry(parts[0]), parts[1])
        else:
            return self._fill(place, tag, parts)
        self._made[place] = made
        return made

    def _fill(self, place: int, tag: int, parts: list[Any]) -> Any:  # noqa: ANN401 whatever was written
        """Make what may hold itself: first empty, then its entries."""
        made: Any
        if tag == _DICT:
            made = self._made[place] = {}
            for key, value in zip(parts[::2], parts[1::2], strict=True):
                made[self._entry(key)] = self._entry(value)
        elif tag == _OBJECT:
            kind, names = self._classes[parts[0]]
            slots = slots_of(kind)
            if slots and slots != names:
                raise JournalError(f"{kind.__qualname__} has other fields in this version of the software")
            made = self._made[place] = object.__new__(kind)
            for name, value in zip(names, parts[1:], strict=True):
                object.__setattr__(made, name, self._entry(value))
        else:
            made = self._made[place] = {_LIST: list, _DEQUE: deque}[tag]()
            made.extend(map(self._entry, parts))
        return made


def _is_frozen(kind: type) -> bool:
    parameters = getattr(kind, "__dataclass_params__", None)
    return kind in _FROZEN_KINDS or (parameters is not None and parameters.frozen)


def slots_of(kind: type) -> tuple[str, ...]:
    """Return the slots of a class and of those that it is made from; none for a class without."""
    return tuple(name for base in reversed(kind.__mro__) for name in base.__dict__.get("__slots__", ()))


def _pairs(value: dict[Any, Any]) -> Iterable[Any]:
    return chain.from_iterable(value.items())


def _sorted(value: Iterable[Any]) -> Iterable[Any]:
    """Give a set an order; it has none of its own but what the seed of the process makes of it."""
    return sorted(value, key=lambda entry: cbor.encode(Encoder(is_expanded=True).encode((entry,))))


_CONTAINERS: Final[dict[type, tuple[int, Callable[[Any], Iterable[Any]]]]] = {
    list: (_LIST, iter),
    tuple: (_TUPLE, iter),
    deque: (_DEQUE, iter),
    dict: (_DICT, _pairs),
    set: (_SET, _sorted),
    frozenset: (_FROZEN, _sorted),
}


def _find(name: str) -> type:
    module, _, qualified = name.partition(":")
    if not module.startswith(MODULES) or module not in sys.modules:
        raise JournalError(f"{shown(name)} is no class of the core")
    kind = getattr(sys.modules[module], qualified, None)
    if not isinstance(kind, type):
        raise JournalError(f"{shown(name)} is no class of this version of the software")
    return kind


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise JournalError("an array is due")
    return value
