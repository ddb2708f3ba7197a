# SPDX-License-Identifier: LGPL-3.0-or-later
"""Job files with mistakes of all kinds; run as a program, it reads ten thousand of them."""

import random
import sys
from pathlib import Path

from pqrun.input.jobfile import JobFileError, load
from pqrun.input.jobfile.loading import JobFile

SEEDS = [
    """\
workers: 4
max_queue: 1000
defaults: {timeout: 30m, retries: 1}
env: {LANG: C.UTF-8}
pools: {net: 4, gpu: [0, 1]}
x-base: &base {grace: 5s, tags: [a]}
jobs:
  - echo hello
  - id: fetch
    run: curl -fsS "$URL" -o data.gz
    env: {URL: "https://example.org/data.gz"}
    retries: {max: 5, delay: 1s, backoff: exponential, on: [5, timeout], permanent: [22]}
    pools: {net: 1}
  - <<: *base
    id: test
    needs: [fetch]
    matrix: {PY: ["3.11", "3.12"], DB: [sqlite, pg], exclude: [{PY: "3.11", DB: pg}]}
    run: |
      tox -e "py$PY-$DB"
    success_codes: [0, 5]
""",
    """\
jobs:
  build: make
  test: {run: [make, test], needs: build, timeout: 5}
  "report": &r
    run: 'it''s done'
    needs: {ended: "t*"}
  again: {<<: *r, cmd: "x\\ty"}
""",
    '{"jobs": [{"id": "a", "run": "echo \\u00fc \\ud83d\\ude00", "retries": 2}, "b", '
    '{"run": ["c", 1]}], "workers": "50%"}',
]
WORDS = [
    b"jobs:", b"id:", b"run:", b"needs:", b"matrix:", b"<<: *base", b"&base", b"*base", b"- ", b": ", b" #",
    b"\t", b"\n",
    b"\r", b"{", b"}", b"[", b"]", b'"', b"'", b"|", b">", b"!!str", b"---", b"...", b"%YAML 1.2", b"null",
    b"~", b"\\",
    b"\xff", b"\xc3", b"\0", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"?", b"@", b"`", b"1e999", b"-1",
    b"\\ud83d", b"  ", b"x-",
    b"include:", b"ended:", b"retries:", b"env:", b"=", b"\x1b[2J", b"a" * 300,
]  # fmt: skip


def parse(data):
    """Jobs, or problems that can be shown."""
    try:
        found = load(["x.yaml"], {}, read=lambda path: data)
    except JobFileError as error:
        text = str(error)
        assert error.problems and text.startswith("x.yaml")
        assert all(character.isprintable() or character in "\n\t" for character in text)
        assert len(text) < 30_000
        return error
    assert isinstance(found, JobFile) and found.jobs
    return found


def mutated(chance):
    data = bytearray(chance.choice(SEEDS).encode())
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                data[at:at] = chance.choice(WORDS)
            case 1:
                del data[at : at + chance.randint(1, 20)]
            case 2:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 3:
                end = at + chance.randint(1, 60)
                data[at:at] = data[at:end]
            case 4:
                lines = data.split(b"\n")
                chance.shuffle(lines) if chance.random() < 0.1 else lines.pop(chance.randrange(len(lines)))
                data = bytearray(b"\n".join(lines))
            case 5:
                data[at:at] = chance.choice(WORDS) * chance.randint(1, 30)
    return bytes(data)


def main():
    """Prints how many are right, how many wrong, and the peak of memory in MiB."""
    chance = random.Random(20)
    found = [type(parse(mutated(chance))) for _ in range(10_000)]
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peak = next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)
    sys.stdout.write(f"{found.count(JobFile)} {found.count(JobFileError)} {peak}\n")


if __name__ == "__main__":
    main()
