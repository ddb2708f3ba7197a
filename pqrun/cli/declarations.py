# SPDX-License-Identifier: LGPL-3.0-or-later
"""How commands, arguments and options are declared. Both parsers of the command line read these declarations.

A command is a function. Each parameter declares an argument or an option; a parameter whose type is a class of
options stands for all options of that class.
"""

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any, ClassVar, NamedTuple, get_type_hints

from pqrun.core.option_spec import OptionSpec

REQUIRED: Any = object()
"""The default of an argument that has to be given."""
_LISTS = (list[str], list[str] | None)
PLACEHOLDERS = "Placeholders (each value is quoted for the shell)"
"""The words before the list of placeholders in both helps."""


class ArgumentSpec(NamedTuple):
    """One argument; if its type is a list, all words from there on. `completes`: `runs` or `jobs`."""

    metavar: str
    help: str
    completes: str | None = None
    show_default: bool = True


class DeclaredArgument(NamedTuple):
    """An argument of a command. `kind`: the type of its value."""

    spec: ArgumentSpec
    kind: Any
    default: Any

    @property
    def is_list(self) -> bool:
        """Whether the argument takes all words from there on."""
        return self.kind in _LISTS


class DeclaredOption(NamedTuple):
    """An option of a command. `kind`: the type of its value, for example `bool` or a list."""

    flag: OptionSpec
    kind: Any
    default: Any

    @property
    def is_switch(self) -> bool:
        """Whether the option has no value."""
        return self.kind is bool

    @property
    def is_repeated(self) -> bool:
        """Whether the option may be repeated, each time with another value."""
        return self.kind in _LISTS


def options_of(settings: type[NamedTuple]) -> dict[str, DeclaredOption]:
    """Return the fields of a group of settings that are options."""
    found = {}
    for name, hint in settings.__annotations__.items():
        if isinstance(spec := getattr(hint, "__metadata__", ("",))[0], OptionSpec):
            default = settings._field_defaults[name]
            # Both parsers know a repeated option as a list.
            kind, default = (_LISTS[1], None) if default == () else (hint.__origin__, default)
            found[name] = DeclaredOption(spec, kind, default)
    return found


class ReadWords(NamedTuple):
    """A command line as it was read: the values that it gives, by parameter, and which of them variables set."""

    values: Mapping[str, Any]
    by_variable: frozenset[str] = frozenset()


class OptionGroup:
    """The options of a command line: an attribute for each, with its default if it was not given.

    `settings`: groups of settings whose options are options of the command line, too. `given`: the values that
    were given, by name. `by_variable`: the names of those that variables set.
    """

    settings: ClassVar[tuple[type[NamedTuple], ...]] = ()

    def __init__(self, **given: Any) -> None:
        declared = self.declared()
        if unknown := given.keys() - declared.keys():
            raise TypeError(f"no such options: {', '.join(sorted(unknown))}")
        vars(self).update({name: one.default for name, one in declared.items()}, **given)
        self.given: Mapping[str, Any] = given
        self.by_variable: frozenset[str] = frozenset()

    @classmethod
    @cache
    def declared(cls) -> dict[str, DeclaredOption]:
        """Return all options: those of base classes first, then those of settings."""
        found: dict[str, DeclaredOption] = {}
        for kind in reversed(cls.__mro__):
            # `inspect.get_annotations` does the same, but `inspect` takes 8 ms to load.
            for name, hint in kind.__dict__.get("__annotations__", {}).items():  # noqa: RUF063
                assert not isinstance(hint, str), f"{kind.__module__} must not postpone its annotations"
                if hasattr(hint, "__metadata__"):
                    found[name] = DeclaredOption(hint.__metadata__[0], hint.__origin__, getattr(cls, name))
        for group in cls.settings:
            found |= options_of(group)
        return found

    def values(self) -> dict[str, Any]:
        """Return the values of all options."""
        found = vars(self)
        return {name: found[name] for name in self.declared()}

    def spelled(self, name: str) -> str:
        """Return the option as messages name it: by its variable, if that has set it."""
        flag = self.declared()[name].flag
        return str(flag.variable) if name in self.by_variable else flag.names[-1]


class WrongUsage(Exception):
    """A command line that the command does not accept. The message names what is wrong."""


class HelpWanted(Exception):
    """A command line without anything to do: the short help is shown, and then this message."""


class DeclaredParameters(NamedTuple):
    """The declarations of a command's parameters, by name. `groups`: those that stand for a class of options."""

    arguments: dict[str, DeclaredArgument]
    options: dict[str, DeclaredOption]
    groups: dict[str, type[OptionGroup]]


class CommandSpec:
    """A command: its name, its function and what its help shows besides the function's docstring.

    `examples`: command lines. `placeholders`: what a command may hold, each with its meaning. `mixed`: whether options
    may follow arguments. `rewrite` changes the words before they are read.
    The function returns the exit code, or None for 0.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., int | None],
        panel: str,
        *,
        examples: tuple[str, ...] = (),
        placeholders: tuple[tuple[str, str], ...] = (),
        mixed: bool = True,
        rewrite: Callable[[list[str], Mapping[str, DeclaredOption]], list[str]] | None = None,
    ) -> None:
        self.name = name
        self.panel = panel
        self.examples = examples
        self.placeholders = placeholders
        self.mixed = mixed
        self.rewrite = rewrite
        self.function = function

    @cached_property
    def _declared(self) -> DeclaredParameters:
        """The declarations of the function's parameters. Found only when the command is used: this takes a millisecond."""
        found = DeclaredParameters({}, {}, {})
        hints = get_type_hints(self.function, include_extras=True)
        code = self.function.__code__
        # `inspect.signature` does the same, but `inspect` takes 8 ms to load.
        names = code.co_varnames[: code.co_argcount]
        defaults = dict(zip(reversed(names), reversed(self.function.__defaults__ or ()), strict=False))
        for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            hint, default = hints[name], defaults.get(name, REQUIRED)
            if isinstance(hint, type) and issubclass(hint, OptionGroup):
                found.groups[name] = hint
                found.options.update(hint.declared())
            elif isinstance(spec := hint.__metadata__[0], ArgumentSpec):
                found.arguments[name] = DeclaredArgument(spec, hint.__origin__, default)
            else:
                found.options[name] = DeclaredOption(spec, hint.__origin__, default)
        return found

    @property
    def arguments(self) -> dict[str, DeclaredArgument]:
        """The arguments by parameter, in their order."""
        return self._declared.arguments

    @property
    def options(self) -> dict[str, DeclaredOption]:
        """The options by parameter."""
        return self._declared.options

    @property
    def epilog(self) -> str:
        """The text below the options in the help, in the markup of rich: placeholders, then examples."""
        examples = "".join(f"\n\n  {example}" for example in self.examples).replace("[", "\\[")
        return f"{self._placeholders()}\n\n[bold]Examples[/bold]{examples}\n"

    def _placeholders(self) -> str:
        terms = ", ".join(f"[bold]{term}[/bold] {about}" for term, about in self.placeholders)
        return f"\n{PLACEHOLDERS}: {terms}.\n" if terms else ""

    def call(self, found: ReadWords) -> int:
        """Run the command with these values of its arguments and options; return the exit code."""
        values = dict(found.values)
        for name, group in self._declared.groups.items():
            options = group(**{one: values.pop(one) for one in group.declared() if one in values})
            options.by_variable = found.by_variable & options.given.keys()
            values[name] = options
        return self.function(**values) or 0


def switch(*names: str, help: str) -> OptionSpec:
    """Return an option of one command, without a value."""
    return OptionSpec(names, help)
