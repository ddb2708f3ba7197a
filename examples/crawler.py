#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Crawls a site: each page is a job, and adds the pages that it links to as jobs of the same run.

    python examples/crawler.py https://example.org/docs/ [DEPTH]

Called by you it starts the run; called as a job of that run it fetches one page. Every job may talk
to its run through the socket that $PQRUN_SOCKET names: one line of JSON there, one line back.
"""

import json
import os
import shlex
import socket
import subprocess
import sys
from html.parser import HTMLParser
from urllib.error import HTTPError
from urllib.parse import urldefrag, urljoin
from urllib.request import urlopen

LINES_LIKE_THIS = "{command} # pqrun: id={url}\n"
NOT_THERE, TRY_AGAIN = 22, 75


class Links(HTMLParser):
    """Collects where a page's links lead."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.found: dict[str, None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href") if tag == "a" else None
        if href:
            self.found[urldefrag(urljoin(self.base, href)).url] = None


def command(url: str, depth: int, within: str) -> str:
    return shlex.join([sys.executable, os.path.abspath(__file__), url, str(depth), within])


def ask(**request: object) -> dict[str, object]:
    """The run's answer."""
    with socket.socket(socket.AF_UNIX) as run:
        run.connect(os.environ["PQRUN_SOCKET"])
        run.sendall(json.dumps({"pqrun": 1, **request}).encode() + b"\n")
        answer: dict[str, object] = json.loads(run.makefile("rb").readline())
        return answer


def visit(url: str, depth: int, within: str) -> int:
    """One page, as a job."""
    try:
        with urlopen(url, timeout=30) as page:
            text = page.read().decode("utf-8", "replace")
    except HTTPError as error:
        sys.stderr.write(f"{error}\n")
        return NOT_THERE if 400 <= error.code < 500 else TRY_AGAIN
    sys.stdout.write(f"{len(text):8} {url}\n")
    links = Links(url)
    links.feed(text)
    wanted = [link for link in links.found if link.startswith(within) and len(link) <= 200]
    if not wanted or depth == 0:
        return 0
    jobs = [{"id": link, "run": command(link, depth - 1, within), "tags": ["page"]} for link in wanted]
    # `once`: a page that was ever added is not added again. Don't `wait` for room here: if all
    # running jobs waited for room, no job could make room. This job is retried later instead.
    answer = ask(verb="add", add=jobs, once=True, by=f"job {os.environ['PQRUN_JOB_ID']}")
    if not answer["ok"]:
        sys.stderr.write(f"{answer['error']}\n")
    return 0 if answer["ok"] else TRY_AGAIN


def start(url: str, depth: int) -> int:
    """The run, with the first page as its first job."""
    first = LINES_LIKE_THIS.format(command=command(url, depth, url.rpartition("/")[0] + "/"), url=url)
    options = ["-j4", "--max-queue", "10000", "--timeout", "1m"]
    options += ["--retries", "5", "--retry-delay", "1s", "--permanent", str(NOT_THERE)]
    return subprocess.run(["pqrun", "run", *options, "-"], input=first.encode(), check=False).returncode


def main() -> int:
    match sys.argv[1:]:
        case [url]:
            return start(url, 3)
        case [url, depth]:
            return start(url, int(depth))
        case [url, depth, within]:
            return visit(url, int(depth), within)
        case _:
            sys.stderr.write(f"{__doc__}\n")
            return 2


if __name__ == "__main__":
    sys.exit(main())
