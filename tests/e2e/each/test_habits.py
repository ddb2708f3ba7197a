# SPDX-License-Identifier: LGPL-3.0-or-later
"""What people of GNU parallel and xargs type: options, spellings, and what is said about the rest."""

import random
import subprocess

import pytest

from pqrun.cli.commands import find_command
from pqrun.cli.commands.each import habits
from pqrun.cli.foreign_options import CURES, SPELLINGS
from pqrun.control.job_payload import checked_fields
from pqrun.core.errors import Rejected, UserError
from pqrun.input.each.arguments import Arguments
from pqrun.input.each.split_rules import SplitRules
from pqrun.input.each.template import Template

FILE = "dir/sub/file.ex1.ex2.ex3"
TEXT = "abcaAdef"


def read(*words):
    return habits(list(words), find_command("each").options)


@pytest.mark.parametrize(
    ("placeholder", "value", "made"),
    [
        ("{..}", FILE, "dir/sub/file.ex1"), ("{...}", FILE, "dir/sub/file"), ("{/..}", FILE, "file.ex1"),
        ("{/...}", FILE, "file"), ("{+/}", FILE, "dir/sub"), ("{+/}", "a", "''"), ("{+.}", FILE, "ex3"),
        ("{+..}", FILE, "ex2.ex3"), ("{+...}", FILE, "ex1.ex2.ex3"), ("{+.}", "a", "''"), ("{:2}", TEXT, "caAdef"),
        ("{:2:3}", TEXT, "caA"), ("{:-x y}", "", "'x y'"), ("{:-x}", TEXT, TEXT), ("{#abc}", TEXT, "aAdef"),
        ("{#a.*a}", TEXT, "Adef"), ("{##a.*A}", TEXT, "def"), ("{%def}", TEXT, "abcaA"), ("{%de}", TEXT, TEXT),
        ("{%%a.*}", TEXT, "''"), ("{/def/ghi}", TEXT, "abcaAghi"), ("{//a/x}", TEXT, "xbcxAdef"),
        ("{/#a/x}", TEXT, "xbcaAdef"), ("{/%f/x}", TEXT, "abcaAdex"), ("{^a}", TEXT, "AbcaAdef"),
        ("{^^a}", TEXT, "AbcAAdef"), ("{,A}", "AbA", "abA"), ("{,,A}", "AbA", "aba"), ("{1..}", FILE, "dir/sub/file.ex1"),
        ("{-1%def}", TEXT, "abcaA"),
    ],
)  # fmt: skip
def test_the_placeholders_of_plus(commands, placeholder, value, made):
    assert commands(f"echo {placeholder}", ":::", value, plus=True) == [f"echo {made}"]


def test_the_number_of_all_jobs_and_combinations(commands, tmp_path):
    (tmp_path / "list").write_text("a\nb\n")
    assert commands("echo {} {#} of {##}", "::::", "list", plus=True) == ["echo a 1 of 2", "echo b 2 of 2"]
    letters = (":::", *"ABC", ":::", *"ABC")
    assert commands("echo {choose_k}", *letters, plus=True) == ["echo A B", "echo A C", "echo B C"]
    assert len(commands("echo {uniq}", *letters, plus=True)) == 6


@pytest.mark.parametrize(
    ("rule", "command", "made"),
    [
        (r"{x} s/_/ /g", "echo {x} {1x}", "echo 'a b.c.d' 'a b.c.d'"), (",, {/.}", "echo ,,", "echo a_b.c"),
        (r".. s:\.[^.]+$::;s:\.[^.]+$::;", "echo ..", "echo a_b"), (r"{%(.+?)} s/$$1$//;", "echo {%.c.d}", "echo a_b"),
        (r"{y} s/(.)_(.)/$2-$1/", "echo {y}", "echo b-a.c.d"), ("{u} s/A/x/i", "echo {u}", "echo x_b.c.d"),
    ],
)  # fmt: skip
def test_placeholders_of_ones_own(commands, rule, command, made):
    assert commands(command, ":::", "a_b.c.d", rpl=(rule,)) == [made]


@pytest.mark.parametrize("rule", ["{x} $_ = 1", "{x}", "{x} s/(/b/", "{x} s/a/b/e"])
def test_a_rule_that_only_perl_could_run_is_refused(commands, rule):
    with pytest.raises(UserError, match="--rpl"):
        commands("echo {x}", ":::", "a", rpl=(rule,))


def test_another_text_stands_for_the_argument(commands):
    assert commands("echo ,, {} {1.}", ":::", "a.b", replace=",,") == ["echo a.b {} a"]


def test_sources_are_paired_trimmed_ended_and_read_as_csv(commands, tmp_path):
    assert commands("echo", ":::", "a", "b", "c", ":::", "1", "2", link=True) == [
        "echo a 1",
        "echo b 2",
        "echo c 1",
    ]
    assert commands("echo", ":::", " a ", trim="l") == ["echo 'a '"]
    assert commands("echo", ":::", " a ", trim="lr") == ["echo a"]
    (tmp_path / "list").write_text("a\nstop\nb\n")
    assert commands("echo", "::::", "list", ":::", "1", "stop", "2", eof="stop") == ["echo a 1"]
    (tmp_path / "table").write_text('"a,b","c ""d"""\n"e\nf",g\n')
    assert commands("echo {2} {1}", "::::", "table", csv=True) == ["echo 'c \"d\"' 'a,b'", "echo g 'e\nf'"]
    assert commands("echo {2}", ":::", "a; b", csv=True, colsep=";") == ["echo ' b'"]
    assert commands("echo", ":::", "a", " ", "b", no_run_if_empty=True) == ["echo a", "echo b"]
    assert commands("echo", ",,", "a", "//", "list", arg_sep=",,", arg_file_sep="//") == [
        "echo a a", "echo a stop", "echo a b"
    ]  # fmt: skip


def test_nothing_of_a_stream_behind_its_end_is_an_argument():
    arguments = Arguments(Template("echo"), SplitRules(end="stop"), {})
    arguments.feed(b"a\nstop\nb\n")
    assert arguments.take().work.run == "echo a"
    assert arguments.take() is None and arguments.at_end
    arguments.feed(b"c\n")
    assert arguments.take() is None
    assert arguments.counter() is None, "where the end is, is not known before"


def test_a_broken_csv_says_where(commands, tmp_path):
    (tmp_path / "table").write_text('a\n"b\n')
    with pytest.raises(UserError, match=r"table:2: not CSV"):
        commands("echo", "::::", "table", csv=True)


def test_random_order_has_all_jobs(commands, monkeypatch):
    monkeypatch.setattr(random, "shuffle", lambda rows: rows.reverse())
    assert commands("echo", ":::", "a", "b", ":::", "1", "2", shuf=True) == [
        "echo b 2", "echo b 1", "echo a 2", "echo a 1"
    ]  # fmt: skip


@pytest.mark.slow
def test_the_text_in_front_of_lines(each, pqrun):
    done = each("--tagstring", "{1}-{#}", "echo", "{2}", ":::", "a b", ":::", "x", "y")
    assert done.out == "a b-1\tx\na b-2\ty\n"
    assert pqrun("each", "--dry-run", "--tagstring", "{}!", "echo", ":::", "a").out == "a!\techo a\n"


@pytest.mark.slow
def test_the_text_in_front_of_lines_survives_a_resume(pqrun):
    pqrun("each", "-q", "--tagstring", "<{}>", "--run-dir", "run", "test -e go && echo", ":::", "a")
    pqrun("each", "touch", ":::", "go")
    assert pqrun("resume", "./run", "-q", "--failed").out == "<a>\ta\n"


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ("-P 8 echo", "--jobs 8 echo"), ("-P0 echo", "--jobs 1000 echo"), ("-j0 x", "-j 1000 x"), ("-kj0 x", "-k -j 1000 x"),
        ("--bar --eta echo", "echo"), ("--progress echo a", "echo a"), ("--progress plain echo", "--progress plain echo"),
        ("--header : -k x", "--header -k x"), ("--header=: x", "--header x"), ("--header x{a}", "--header x{a}"), ("-ku x", "--output raw x"), ("--lb --tag x", "--output line --tag x"),
        ("--termseq INT,200,TERM,100,KILL,25 x", "--signal INT --grace 300ms x"), ("--xapply -a f x", "--link -a f x"),
        ("echo -P 8 --bar", "echo -P 8 --bar"), ("-- -P 8", "-- -P 8"), ("--no-such x", "--no-such x"), ("-Xj1 x", "-X -j 1 x"),
        ("-d, --will-cite x", "-d, x"), ("--jobs=0 x", "-j 1000 x"),
        ("--timeout 200% x", "--median-timeout 200% x"), ("--timeout=50% x", "--median-timeout 50% x"),
        ("--timeout 5 x", "--timeout 5 x"),
    ],
)  # fmt: skip
def test_other_spellings_are_read(words, ours):
    assert read(*words.split()) == ours.split()


def test_each_spelling_is_accepted_by_the_command_line():
    known = {name for one in find_command("each").options.values() for name in one.flag.names}
    for option in SPELLINGS:
        for name in option.names:
            assert name not in known
            value = "TERM,200,KILL" if name == "--termseq" else "5"
            found = read(name, *([value] if option.metavar else []), "echo")
            assert found[-1] == "echo" and {word for word in found[:-1] if word[:1] == "-"} <= known, name


@pytest.mark.parametrize("option", CURES, ids=lambda one: one.names[0])
def test_what_each_lacks_is_answered_with_what_to_do(option):
    for name in option.names:
        with pytest.raises(UserError, match=r"`each` has no .*: .{8,}"):
            read(name, *(["x"] if option.metavar else []), "echo")


def test_a_refusal_is_one_line_and_exit_code_2(pqrun):
    done = pqrun("each", "--tty", "vi")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "shell loop" in done.err


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (("--header", "2"), "2"), (("--header=2",), "2"), (("--header", "(%.*\\n)*"), "N"),
        (("--header", ".{4}"), "N"), (("--header=x",), "N"),
    ],
)  # fmt: skip
def test_other_headers_than_a_line_are_not_taken_for_the_command(words, lines):
    told = rf"`each` has no --header .*: the header is one line; .*head -n {lines} .*\$\(\({lines}\+1\)\)"
    with pytest.raises(UserError, match=told):
        read(*words, "--pipe", "cat")


@pytest.mark.slow
def test_lines_of_a_header_are_given_to_each_job_as_the_answer_says(each, tmp_path):
    (tmp_path / "FILE").write_text("a\nb\n1\n2\n3\n")
    with pytest.raises(UserError) as refused:
        read("--header", "2", "--pipe", "cat")
    words = str(refused.value).split("`")[-2].replace("COMMAND", "paste -sd,").replace("pqrun each", "cat; #")
    subprocess.run(words, shell=True, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    done = each("--pipe", "-N2", "cat head - | paste -sd,", input="1\n2\n3\n")
    assert done.lines == ["a,b,1,2", "a,b,3"]


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("label", "x", [5]),
        ("args", ["a", "b"], ["a", [1], ["a\0"], {"a": "b"}]),
        ("arg_names", ["a"], ["a", [None]]),
    ],
)
def test_a_client_can_not_send_what_is_no_text(field, good, bad):
    assert getattr(checked_fields({field: good}), field) in (good, tuple(good))
    for value in bad:
        with pytest.raises(Rejected):
            checked_fields({field: value})


def test_a_command_for_another_machine_is_told_the_way_that_works(tmp_path):
    with pytest.raises(UserError, match="send the value on stdin"):
        Template("ssh host 'cd /srv && ls {}'")
    made = Template("""printf '%s\\n' {} | sh -c 'read -r x; printf "%s" "$x"'""").command(("a $(b) 'c",), 1)
    assert subprocess.run(made, shell=True, capture_output=True, text=True).stdout == "a $(b) 'c"
