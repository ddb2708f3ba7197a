# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where placeholders may stand: nowhere where quotes of their own would not hold."""

import re
import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from pqrun.core.errors import UserError
from pqrun.input.each.shell_context import ShellContext, ShellScanner
from pqrun.input.each.template import Template

HERE = re.compile("@")

FREE = [
    "@", "f @", "a@b", "f --x=@", "f 'a' @", 'f "a" @', "f 'it'\"'\"'s' @", "f \\' @", 'f "\\"" @', "f; g @",
    "f @ > @.out", "x=@; f $x", "(f @)", "( (f @) )", "f $(g @)", 'f "$(g @)"', 'f "$(g "$(h @)")"', "f <(g @)",
    "f ${x} @", "f ${x%.*} @", 'f "${x}" @', "f $# @", "f ${#x} @", "f a#b @", "f \\# @", "f # c\n g @", "f <<<@",
    "if f @; then g; fi", "case @ in a) f;; esac", "f $'a' @", "f 2>&1 @", "f `g` @", 'f "`g`" @', "f $((1+2)) @",
    "f \\\n@", "\"a \\\n\" @", "f {a,b} @", "{ f @; }", "f && g || h @", "! f @", "f @ &", "f \"'\" @", "f '\"' @", "f \\\\@",
]  # fmt: skip
OTHER = {
    ShellContext.SINGLE: ["'@'", "f 'a @ b'", "f '\\@'", "awk '{print @}'", "$(f '@')", "f $'@'", 'f "$(g \'@\')"',
                     "f 'never closed @"],
    ShellContext.DOUBLE: ['"@"', 'f "a @ b"', 'f "$(g)@"', 'f "\\"@"', 'f "\\@"', 'f "$x @"', 'f "never closed @',
                     'f "${x}@"', 'f "$((1))@"', "f \"'@'\"", 'f "#@"'],
    ShellContext.ESCAPED: ["\\@", "f \\@", "f \\\\\\@"],
    ShellContext.BACKQUOTES: ["`f @`", 'f "`g @`"', "f `g \\`h @\\``", "f `never closed @"],
    ShellContext.ARITHMETIC: ["f $((@+1))", "f $(( (@) ))", 'f "$((@))"', "f $[@]", "f $((1 + 2 * (3 + @)))"],
    ShellContext.COMMENT: ["# @", "f # @", "\\\n# @", "f \\\n# @", "f;# it's @", "f # a\n# @", "(# @\nf)"],
    ShellContext.HERE_DOCUMENT: ["cat <<E\n@\nE", "cat <<'E'\n@\nE", "cat <<-E\n@", "cat << @", "cat <<@", "f <<E\nE\ng @"],
    ShellContext.BOTH: ["f >&@", "f >& x@", "f <&@"],
    ShellContext.UNSURE: ['f ${x:-"a"} @', "((@))", "x=(@)", "f\\\n@", "\"$\\\n(g \"@\")\"", "if ((1)); then f @; fi", "f $'\\'' @", "f ''$'a\\'@",
                     'f "$(case x in a) g @;; esac)"', "$(case x in a) g;; esac) @", "f $(( '1' )) @",
                     "f $((g) | h \"@\")"],
}  # fmt: skip


def contexts(command):
    """Where `@` stands, each time."""
    return [context for _, context in ShellScanner(command, HERE)]


@pytest.mark.parametrize("command", FREE)
def test_here_a_value_may_stand(command):
    assert set(contexts(command)) == {ShellContext.FREE}


@pytest.mark.parametrize(
    ("context", "command"),
    [
        (context, command)
        for context, found in OTHER.items()
        for command in found
        if context != ShellContext.DOLLAR
    ],
)
def test_here_it_may_not(context, command):
    assert contexts(command)[-1] == context


def test_a_placeholder_behind_a_dollar_is_the_shells_expansion_or_a_mistake():
    for command in ("f ${1}", 'f "${1}"', "f ${}"):
        with pytest.raises(UserError, match=r"behind a `\$`"):
            Template(command)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ('echo "{}"', "in double quotes"), ("echo '{1}'", "in single quotes"), ("echo `x {}`", "in backquotes"),
        ("echo # {}", "in a comment"), ("echo \\{}", "behind a backslash"), ("echo $(({}))", "arithmetic"),
        ("cat <<E\n{}\nE", "here-document"), ("echo '{%}'", "in single quotes"),
    ],
)  # fmt: skip
def test_the_refusal_names_the_place_and_a_cure(command, said):
    with pytest.raises(UserError) as raised:
        Template(command)
    first, line, mark, hint = str(raised.value).split("\n")
    assert first.startswith("pqrun: the placeholder {") and said in first
    assert line[4:] in command.split("\n")
    assert line[len(mark) - 1] == "{"
    assert hint.startswith("  hint: ")


@pytest.mark.parametrize("command", ["f # a", "f 'a", 'f "a', "f a\\", "f ${x:-'}", "cat <<E\na\nE"])
def test_a_value_is_not_put_behind_what_would_swallow_it(command):
    with pytest.raises(UserError, match="the command has no placeholder"):
        Template(command)


SHELLS = [shell for shell in ("dash", "bash", "zsh", "ksh", "busybox") if shutil.which(shell)]
FRAGMENTS = [
    "{}", "{}", "{}", "'", '"', "\\", " ", " ", "`", "$(", ")", "(", "${x", "}", "#", ";", "\n", "f", "<<E\n", "$'",
    "$((", "))", "|", "&", "x=", "$x", "case ", " in ", "a)", ";;", "esac", "{", "<", ">", "<<<", "E\n", "((", "\\\n", "$", ">&", "\t#",
]  # fmt: skip
EVILS = [
    "$(>evil)",
    "';>evil;'",
    '";>evil;"',
    "`>evil`",
    "\n>evil\n",
    "\\';>evil",
    ")>evil",
    "$(>evil",
    "x}>evil",
]


@pytest.mark.slow
@settings(max_examples=120)
@given(some.lists(some.sampled_from(FRAGMENTS), min_size=2, max_size=9), some.sampled_from(EVILS))
@example(["f ", "$'", "\\", "'", "{}", "'"], "';>evil;'")
@example(['"', "$(", "case ", "x", " in ", "a)", '"', "{}", '"', ";;", "esac", ")", '"'], "$(>evil)")
def test_no_command_that_is_accepted_lets_a_value_be_executed(tmp_path_factory, fragments, value):
    command = "".join(fragments)
    if "{}" not in command:
        return
    try:
        made = Template(command).command((value,), 1)
    except UserError:
        return
    # Nothing in the command makes a file of that name, so that only the value can.
    for shell in SHELLS:
        directory = tmp_path_factory.mktemp("evil")
        words = ["busybox", "sh"] if shell == "busybox" else [shell]
        subprocess.run(
            [*words, "-c", "f() { :; }\n" + made], cwd=directory, capture_output=True, stdin=subprocess.DEVNULL,
            timeout=20,
        )  # fmt: skip
        assert not (directory / "evil").exists(), (shell, made)
