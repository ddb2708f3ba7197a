# SPDX-License-Identifier: LGPL-3.0-or-later
"""The figures: what is measured against what, and what would be good."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PQRUN = f"{sys.executable} -m pqrun"
FLOOR = Path(__file__).with_name("floor.c")


class Figure(NamedTuple):
    """`theirs` is run in turn with `ours`; without it only our own seconds and memory are told."""

    name: str
    reach: str
    ours: str
    theirs: str | None
    directory: Path
    peer: str | None = None


def figures(directory: Path, scale: float) -> Iterator[Figure]:
    """All of them, with their input files written into the directory."""

    def lines(name: str, count: int, line: str = "true") -> str:
        path = directory / name
        path.write_text("".join(line.replace("{}", str(n)) + "\n" for n in range(count)))
        return name

    many = lines("true", int(20_000 * scale))
    some = lines("some", int(3_000 * scale))
    for slots, reach in ((2, "≤ 0.95"), (8, "≤ 0.80")):
        yield Figure(
            f"`true` through the shell, -j{slots}, against `xargs -P{slots} sh -c`", reach,
            f"{PQRUN} run -q -j{slots} {many}", f"xargs -P{slots} -I{{}} sh -c {{}} < {many}", directory, "xargs",
        )  # fmt: skip
    yield Figure(
        "`true`, -j8, against GNU parallel", "≤ 0.15",
        f"{PQRUN} run -q -j8 {some}", f"parallel -j8 < {some}", directory, "parallel",
    )  # fmt: skip
    ninja = directory / "build.ninja"
    count = int(5_000 * scale)
    rules = "".join(f"build o{n}: r\n" for n in range(count))
    ninja.write_text(f"rule r\n command = true\n{rules}")
    five = lines("five", count)
    yield Figure(
        "`true`, -j8, against ninja", "≤ 1.0",
        f"{PQRUN} run -q -j8 {five}", "ninja -j8", directory, "ninja",
    )  # fmt: skip
    if _compile(directory):
        yield Figure(
            "`true`, -j8, against a bare loop in C with pipes", "CPU ≤ 1.35",
            f"{PQRUN} run -q -j8 {five}", f"./floor 8 {count}", directory,
        )  # fmt: skip
    naps = lines("naps", int(4_000 * scale), "sleep 0.5;")
    yield Figure(
        "`sleep 0.5` through the shell, -j1000, against `xargs -P1000 sh -c`", "",
        f"{PQRUN} run -q -j1000 {naps}", f"xargs -P1000 -I{{}} sh -c {{}} < {naps}", directory, "xargs",
    )  # fmt: skip
    sleeps = lines("sleeps", int(2_000 * scale), "sleep 0")
    yield Figure(
        "`sleep 0`, an external command, -j8, against `xargs -P8 sh -c`", "≤ 0.60",
        f"{PQRUN} run -q -j8 {sleeps}", f"xargs -P8 -I{{}} sh -c {{}} < {sleeps}", directory, "xargs",
    )  # fmt: skip
    echos = lines("echos", int(2_000 * scale), "echo hello {}")
    yield Figure(
        "`echo hello N`, in order, -j8, against xargs without order", "≤ 0.90",
        f"{PQRUN} run -q -k -j8 {echos}", f"xargs -P8 -I{{}} sh -c {{}} < {echos}", directory, "xargs",
    )  # fmt: skip
    yield Figure(
        "the cost of the journal: with it, against without", "≤ 1.04",
        f"{PQRUN} run -q -j8 {some}", f"{PQRUN} run -q -j8 --no-journal {some}", directory,
    )  # fmt: skip
    big = directory / "big"
    subprocess.run(["truncate", "-s", str(int((1 << 30) * scale)), str(big)], check=True)
    (directory / "catbig").write_text("cat big\n")
    yield Figure(
        "1 GiB from one job into a pipe, against `cat` of the same", "≤ 1.4, ≤ 60 MB",
        f"(exec {PQRUN} run -q catbig | cat >/dev/null)", "(cat big | cat >/dev/null)", directory,
    )  # fmt: skip
    subprocess.run(["truncate", "-s", "5M", str(directory / "five-mib")], check=True)
    cats = lines("cats", int(200 * scale), "cat five-mib")
    yield Figure(
        "200 × 5 MiB, grouped, -j2, against GNU parallel", "≤ 0.55",
        f"(exec {PQRUN} run -q -j2 {cats} | cat >/dev/null)", f"(parallel -j2 < {cats} | cat >/dev/null)",
        directory, "parallel",
    )  # fmt: skip
    many_bytes = " ".join(["five-mib"] * int(200 * scale))
    yield Figure(
        "200 × 5 MiB, in order, into a pipe, against `cat` of the same", "≤ 1.5, ≤ 60 MB",
        f"(exec {PQRUN} run -q -k -j2 {cats} | cat >/dev/null)", f"(cat {many_bytes} | cat >/dev/null)",
        directory,
    )  # fmt: skip
    line = "x" * 99
    subprocess.run(
        f"yes {line} | head -c {int((1 << 30) * scale)} > records", shell=True, cwd=directory, check=True
    )
    yield Figure(
        "1 GiB in blocks through `--pipe wc -l`, against GNU parallel", "≤ 1.0",
        f"{PQRUN} each -q --pipe wc -l < records >/dev/null", "parallel --pipe wc -l < records >/dev/null",
        directory, "parallel",
    )  # fmt: skip
    screen = "script -qec 'stty rows 45 cols 120; exec {}' /dev/null >/dev/null"
    short = lines("short", int(1_000 * scale), "sleep 0.2")
    run = f"{PQRUN} run -j30 {short} --progress"
    yield Figure(
        "the live table with 30 rows, against no table", "CPU ≤ 2 % of a core",
        screen.format(f"{run} live"), screen.format(f"{run} none"), directory, "script",
    )  # fmt: skip
    (directory / "one").write_text("true\n")
    yield Figure(
        "start to end of one `true`, against GNU parallel", "≤ 0.85",
        f"{PQRUN} run -q one", "parallel true ::: 1", directory, "parallel",
    )  # fmt: skip
    hundred = directory / "hundred.yaml"
    count = int(100_000 * scale)
    hundred.write_text(
        "jobs:\n" + "".join(f"  - {{id: j{n}, run: 'true', priority: low}}\n" for n in range(count))
    )
    yield Figure(
        "100,000 jobs of YAML until the first has ended", "≤ 6 s, ≤ 150 MB",
        f"{PQRUN} run -q -j2 --halt now,done=1 hundred.yaml", None, directory,
    )  # fmt: skip
    yield Figure(
        "20,000 lines from stdin through a queue of 1,000", "≤ 60 MB and flat",
        f"{PQRUN} run -q -j8 < {many}", None, directory,
    )  # fmt: skip


def _compile(directory: Path) -> bool:
    try:
        done = subprocess.run(["cc", "-O2", "-o", str(directory / "floor"), str(FLOOR)], capture_output=True)
    except OSError:
        return False
    return done.returncode == 0
