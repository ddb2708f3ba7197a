# SPDX-License-Identifier: LGPL-3.0-or-later
"""Cases that GNU parallel and `pqrun each` are to understand alike, made by chance from a seed.

`python tests/e2e/each/cases.py` asks an installed GNU parallel what it makes of them, and writes that
down in `gnu_parallel.jsonl`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import NamedTuple

RECORDED = Path(__file__).with_name("gnu_parallel.jsonl")
SEEDS = range(400)
PIECES = (
    "a", "b.c", "x/y.z", "../d.e/f", "/g/", "it's", 'q"q', "$x", "`y`", "\\", "b\\n", " sp ace ", "*", "?", "[a]",
    "{}", "{1}", "~", "#h", "-n", "--", "é", "日本.txt", "a=b", ";", "|", "&", "(", ")", "<", ">", "!", "'", "''",
    "", "tab\there", ".", "..", "...", ".x", "x.", "//", "a//b", "if", "100", "%", "^", "a,b", "{a,b}", "$(id)",
    "${x}", "\u0080",
)  # fmt: skip
PLACEHOLDERS = (
    "{}", "{.}", "{/}", "{//}", "{/.}", "{1}", "{2}", "{3}", "{1.}", "{2/}", "{1//}", "{2/.}", "{-1}", "{-1/.}",
    "{-1//}", "{#}", "{01}",
)  # fmt: skip


class Case(NamedTuple):
    """A call: options, the words of the command, sources; and what it finds in files and on stdin."""

    options: list[str]
    command: list[str]
    sources: list[str]
    files: dict[str, str]
    stdin: str


def value(random, *, newlines=False):
    found = "".join(random.choice(PIECES) for _ in range(random.choice([1, 1, 1, 2, 3])))
    if newlines and random.random() < 0.2:
        found += "\n" + random.choice(PIECES)
    return found


def case(seed, rows=3):
    """The case of that number; `rows`: how many values a source has at most."""
    random = Random(seed)
    words = []
    for _ in range(random.randint(1, 4)):
        word = random.choice(["", "", "p", "-o=", "x."]) + random.choice(PLACEHOLDERS)
        words.append(word + random.choice(["", "", ".s", "_", random.choice(PLACEHOLDERS)]))
    if random.random() < 0.1:
        words = ["literal"]
    options = []
    null = random.random() < 0.2
    if null:
        options.append("-0")
    if random.random() < 0.35:
        options += ["--colsep", random.choice([",", "[ ,]", r"\s+", "/"])]
    if random.random() < 0.15 and not options:
        options += ["--header", ":"]
        words = [random.choice(["{one}", "{two}", "{one.}", "{two/}", "{1}", "x{one}{two}"]) for _ in words]
    kinds = [random.choice([":::", ":::", "::::", "-"]) for _ in range(random.randint(1, 3))]
    kinds = [kind if kind != "-" or not number else ":::" for number, kind in enumerate(kinds)]
    names = ["one", "two", "three"]
    sources, files, stdin = [], {}, ""
    for number, kind in enumerate(kinds):
        link = "+" if number and random.random() < 0.3 else ""
        values = [value(random, newlines=null and kind != ":::") for _ in range(random.randint(1, rows))]
        if "--header" in options:
            values.insert(0, names[number])
        separator = "\0" if null else "\n"
        last = separator if random.random() < 0.8 or not values[-1] else ""
        data = separator.join(values) + last
        if kind == ":::":
            sources += [":::" + link, *values]
        elif kind == "::::":
            files[f"file{number}"] = data
            sources += ["::::" + link, f"file{number}"]
        else:
            stdin = data
            sources += ["::::" + link, "-"]
    # With the semicolon what is printed is a line a job; no placeholder means that the value comes last.
    command = ["printf", "'<%s>'", *words]
    if words != ["literal"]:
        command.append("; echo")
    return Case(options, command, sources, files, stdin)


def put(case, directory):
    """Writes a case's files."""
    for name, data in case.files.items():
        (directory / name).write_text(data, encoding="utf-8", newline="")


def by_gnu_parallel(case, directory):
    """What GNU parallel prints."""
    put(case, directory)
    done = subprocess.run(
        ["parallel", "--will-cite", "-k", "-j4", *case.options, *case.command, *case.sources],
        input=case.stdin.encode(), capture_output=True, cwd=directory, check=True,
        env={**os.environ, "PARALLEL_HOME": str(directory / "home"), "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    return done.stdout.decode()


def recorded():
    """The cases as they were written down, each with what was printed."""
    for line in RECORDED.read_text(encoding="utf-8").splitlines():
        facts = json.loads(line)
        printed = facts.pop("printed")
        yield Case(**facts), printed


def record():
    with RECORDED.open("w", encoding="utf-8") as file:
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as directory:
                (Path(directory) / "home").mkdir()
                found = case(seed)
                facts = {**found._asdict(), "printed": by_gnu_parallel(found, Path(directory))}
            file.write(json.dumps(facts, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    sys.exit(record())
