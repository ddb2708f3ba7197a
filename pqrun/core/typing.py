# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the program needs of `typing` while it runs: light forms of it, because each start pays for them.

Type checkers see `typing` itself. `typing.NamedTuple` compiles each annotation, which takes 15 ms for the classes
of a run; loading `typing` takes 3 ms more. See docs/design/start-up.md.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Annotated as Annotated
    from typing import Any as Any
    from typing import BinaryIO as BinaryIO
    from typing import ClassVar as ClassVar
    from typing import Final as Final
    from typing import Generic as Generic
    from typing import Literal as Literal
    from typing import NamedTuple as NamedTuple
    from typing import NoReturn as NoReturn
    from typing import ParamSpec as ParamSpec
    from typing import Protocol as Protocol
    from typing import TypeGuard as TypeGuard
    from typing import TypeVar as TypeVar
    from typing import assert_never as assert_never
    from typing import get_args as get_args
else:
    from _collections import _tuplegetter as field_getter
    from types import FunctionType

    class Any:
        """Stands for all that only type checkers read."""

        __slots__ = ()

        def __class_getitem__(cls, _):
            return cls

    BinaryIO = ClassVar = Final = NoReturn = TypeGuard = Any

    class Generic(Any):
        __slots__ = ()

    class Protocol(Any):
        __slots__ = ()

    def TypeVar(name, *_, **__):
        return Any

    ParamSpec = TypeVar

    class Annotated:
        """A type and what is said of it."""

        __slots__ = ("__metadata__", "__origin__")

        def __class_getitem__(cls, items):
            made = cls()
            made.__origin__, *said = items
            made.__metadata__ = tuple(said)
            return made

    def assert_never(value):
        raise AssertionError(f"Expected code to be unreachable, but got: {value!r}")

    def __getattr__(name):
        if name not in ("Literal", "get_args"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import typing

        return getattr(typing, name)

    _new_tuple = tuple.__new__
    _codes = {}

    class _NamedTuple(tuple):
        """What all named tuples share. `collections.namedtuple` makes the same methods anew for each class."""

        __slots__ = ()
        _fields = ()

        @classmethod
        def _make(cls, values):
            made = _new_tuple(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
            return made

        def _replace(self, /, **changes):
            made = _new_tuple(type(self), map(changes.pop, self._fields, self))
            if changes:
                raise ValueError(f"Got unexpected field names: {list(changes)!r}")
            return made

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self):
            values = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({values})"

        def __getnewargs__(self):
            return tuple(self)

    def _code_for(count):
        """Return the code of a constructor with this number of fields. It is compiled once for each number."""
        if count not in _codes:
            names = ", ".join(f"_{number}" for number in range(count))
            made = eval(f"lambda _cls, {names}: _new_tuple(_cls, ({names}{',' * (count > 0)}))")
            _codes[count] = made.__code__
        return _codes[count]

    class _NamedTupleMeta(type):
        def __new__(meta, name, bases, namespace):
            if not bases:
                return type.__new__(meta, name, bases, namespace)
            fields = tuple(namespace.get("__annotations__", ()))
            defaults = {field: namespace[field] for field in fields if field in namespace}
            if tuple(defaults) != fields[len(fields) - len(defaults) :]:
                raise TypeError(f"{name}: a field without a default follows one with a default")
            code = _code_for(len(fields)).replace(
                co_varnames=("_cls", *fields), co_name="__new__", co_qualname=f"{name}.__new__"
            )
            made = FunctionType(code, globals(), "__new__", tuple(defaults.values()))
            getters = {field: field_getter(place, None) for place, field in enumerate(fields)}
            own = {
                "__slots__": (), "__new__": made, "_fields": fields, "_field_defaults": defaults,
                "__match_args__": fields,
            }  # fmt: skip
            return type(name, (_NamedTuple,), namespace | getters | own)

    class NamedTuple(metaclass=_NamedTupleMeta):
        """The base of a named tuple, as `typing.NamedTuple`, without generic ones."""
