# SPDX-License-Identifier: LGPL-3.0-or-later
"""The light named tuples behave as those of `typing`, and the rest stands for what only type checkers read."""

import copy
import pickle
import typing

import pytest

from pqrun.core.typing import Annotated, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar


class Light(NamedTuple):
    """A job."""

    name: str
    tries: int = 1
    after: "tuple[str, ...]" = ()

    @property
    def is_first(self):
        return self.tries == 1

    @classmethod
    def called(cls, name):
        return cls(name)

    def again(self):
        return self._replace(tries=self.tries + 1)


class Full(typing.NamedTuple):
    name: str
    tries: int = 1
    after: "tuple[str, ...]" = ()


class Wide(Light):
    """A plain subclass, which may have more than fields."""


class Empty(NamedTuple):
    pass


BOTH = pytest.mark.parametrize("kind", [Light, Full])


@BOTH
def test_the_facts_of_the_class_are_there(kind):
    assert kind._fields == kind.__match_args__ == ("name", "tries", "after")
    assert kind._field_defaults == {"tries": 1, "after": ()}
    assert set(kind.__annotations__) == set(kind._fields)
    assert type(kind) is type and issubclass(kind, tuple)
    assert not hasattr(kind("a"), "__dict__")


@BOTH
def test_values_are_tuples_with_names(kind):
    job = kind("a", after=("b",))
    assert job == ("a", 1, ("b",)) and hash(job) == hash(("a", 1, ("b",)))
    assert (job.name, job.tries, job.after) == tuple(job)
    assert repr(job) == f"{kind.__name__}(name='a', tries=1, after=('b',))"
    assert job._asdict() == {"name": "a", "tries": 1, "after": ("b",)}
    assert kind._make(["x", 2, ()]) == ("x", 2, ())
    match job:
        case kind(name, tries=1):
            assert name == "a"
        case _:
            pytest.fail("no match")


@BOTH
def test_replaced_and_copied_values_keep_their_class(kind):
    job = kind("a")
    for other in (job._replace(tries=1), copy.copy(job), copy.deepcopy(job), pickle.loads(pickle.dumps(job))):
        assert other == job and type(other) is kind
    assert job._replace(name="b") == ("b", 1, ())


@BOTH
@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda kind: kind(), "__new__() missing 1 required positional argument: 'name'"),
        (lambda kind: kind(1, 2, 3, 4), "__new__() takes from 2 to 4 positional arguments but 5 were given"),
        (lambda kind: kind("a", size=1), "__new__() got an unexpected keyword argument 'size'"),
        (lambda kind: kind._make([1]), "Expected 3 arguments, got 1"),
    ],
)
def test_wrong_arguments_are_named(kind, call, text):
    with pytest.raises(TypeError) as error:
        call(kind)
    assert str(error.value).endswith(text)


@BOTH
def test_an_unknown_field_cannot_be_replaced(kind):
    with pytest.raises((TypeError, ValueError), match="unexpected field names"):
        kind("a")._replace(size=1)


@BOTH
def test_a_field_cannot_be_set(kind):
    with pytest.raises(AttributeError):
        kind("a").name = "b"


def test_a_class_keeps_its_own_methods():
    job = Light.called("a").again()
    assert job == ("a", 2, ()) and not job.is_first and Light.__doc__ == "A job."
    assert Wide("a").again() == ("a", 2, ()) and type(Wide("a").again()) is Wide
    assert Empty() == () and Empty._fields == ()


def test_a_field_without_a_default_may_not_follow_one_with_a_default():
    with pytest.raises(TypeError, match="without a default"):

        class Wrong(NamedTuple):
            name: str = ""
            tries: int


def test_classes_with_as_many_fields_have_constructors_of_their_own():
    class First(NamedTuple):
        a: int
        b: int

    class Second(NamedTuple):
        c: int
        d: int = 4

    assert First(b=1, a=2) == (2, 1) and Second(c=3) == (3, 4)


def test_forms_for_type_checkers_can_be_subscripted_and_inherited():
    kind = TypeVar("kind", bound=int)

    class Reads(Protocol[kind]):
        __slots__ = ("value",)

    class Holds(Reads[int], Generic[kind]): ...

    assert isinstance(Holds(), Reads) and ClassVar[int] and (Any | None) and dict[str, Any]
    assert Annotated[list[str] | None, 1, 2].__metadata__ == (1, 2)
    assert Annotated[list[str] | None, 1].__origin__ == list[str] | None


def test_what_is_seldom_wanted_is_that_of_typing():
    from pqrun.core import typing as light

    assert light.get_args is typing.get_args
    with pytest.raises(AttributeError, match="no attribute 'Text'"):
        light.Text  # noqa: B018
