# SPDX-License-Identifier: LGPL-3.0-or-later
"""The examples of GNU parallel's own pages: `each` makes the same commands, or says why not."""

import html
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_gnu_parallel import INSTALLED

PAGES = [Path("/usr/share/doc/parallel") / f"parallel_{name}.html" for name in ("examples", "tutorial")]
ELSEWHERE = {
    "-S", "--sshlogin", "--slf", "--sshloginfile", "--nonall", "--onall", "--transfer", "--transferfile", "--return",
    "--cleanup", "--trc", "--basefile", "--env", "--workdir", "--wd", "--embed", "--citation", "--version",
    "--shellquote", "--tmux", "--sqlmaster", "--sqlandworker", "--sqlworker", "--fg", "--bg", "--semaphore",
    "--wait", "--semaphorename", "--id", "--number-of-cpus", "--number-of-cores", "--minversion", "--help",
    "--shebang", "--shebang-wrap", "--record-env", "--session", "--parset", "--gnu", "--profile", "--filter-hosts",
}  # fmt: skip
FILES = {"abc-file": "A\nB\nC\n", "def-file": "D\nE\nF\n", "num30000": "1\n2\n3\n", "tsv-file.tsv": "f1\tf2\nA\tB\n",
         "abc0-file": "A\0B\0C\0", "abc_-file": "A_B_C_", "num8": "1\n2\n", "num128": "1\n2\n",
         "xlist": "1\n2\n", "ylist": "3\n4\n", "table_file.tsv": "a\tb\n c \td\n"}  # fmt: skip
SAME = 211
"""At least so many examples give the same commands."""
PAGE = Path(__file__).parents[3] / "docs/from-gnu-parallel.md"
DIFFERENCES = {
    r"-\w*q": "quote the command", r"--tag$": "shows the job's id for `--tag`", r"--nice": "A dry run shows `--nice`",
    r".*\{%\}|--slotreplace": "`{%}` and `--slotreplace` are a variable", r"--shuf": "`--shuf` puts the jobs",
    r"--latest-line": "With `--latest-line`", r"--halt": "so `--halt` stops nothing",
    r"-\w*0": "A dry run writes a newline in a value as `\\n`", r"\{\}": "at the beginning of a template is quoted",
}  # fmt: skip
"""What stands in the examples that give other commands, and what the page says about it."""
ANSWERS = (
    r"`each` has no|hint:|cannot read|Perl code|needs a file|requires an argument|there are none|not a number"
)


def examples():
    """The words after `parallel` in each example, once each."""
    found = {}
    for page in PAGES:
        blocks = re.findall(r"<pre>(.*?)</pre>", page.read_text(errors="replace"), re.DOTALL)
        text = "\n".join(html.unescape(re.sub(r"<[^>]+>", "", block)) for block in blocks)
        for line in re.sub(r"\\\n\s*", " ", text).splitlines():
            lexer = shlex.shlex(line.strip(), posix=True, punctuation_chars="|;<>&()")
            lexer.whitespace_split, lexer.commenters = True, ""
            try:
                words = list(lexer)
            except ValueError:
                continue
            if "parallel" in words:
                rest = words[words.index("parallel") + 1 :]
                end = next(
                    (at for at, word in enumerate(rest) if re.fullmatch(r"[|;<>&()]+", word)), len(rest)
                )
                found[tuple(rest[:end])] = None
    return [words for words in found if words and not ELSEWHERE & {word.split("=")[0] for word in words}
            and not any("{=" in word for word in words)]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not (INSTALLED and all(page.exists() for page in PAGES)),
    reason="GNU parallel or its pages are not installed",
)
def test_the_examples_of_gnu_parallel(tmp_path, environment):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / ".parallel").mkdir()
    (tmp_path / ".parallel" / "will-cite").touch()
    env = {**environment, "HOME": str(tmp_path), "PARALLEL_HOME": str(tmp_path / ".parallel")}

    def run(*words):
        done = subprocess.run(
            words, input=b"a.txt\nb c.txt\n", capture_output=True, cwd=tmp_path, env=env, timeout=60
        )
        return done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr)

    def compare(words):
        code, ours, said = run(sys.executable, "-m", "pqrun", "each", "--dry-run", "-k", *words)
        if code:
            return ("answered" if re.search(ANSWERS, said) else "unanswered"), words
        try:
            failed, theirs, _ = run("parallel", "--dry-run", "-k", *words)
        except subprocess.TimeoutExpired:  # on a busy machine, `--load 100%` waits
            return "no answer", words
        if failed or not theirs:  # this version of GNU parallel does not know it
            return "no answer", words
        try:
            same = [shlex.split(line) for line in ours.splitlines()] == [
                shlex.split(line) for line in theirs.splitlines()
            ]
        except ValueError:
            same = ours == theirs
        return ("same" if same else "other"), words

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(compare, examples()))
    assert [words for kind, words in found if kind == "unanswered"] == []
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert [about for about in DIFFERENCES.values() if about not in page] == []
    count = Counter(kind for kind, _ in found)
    assert count["same"] >= SAME, [words for kind, words in found if kind == "other"]
