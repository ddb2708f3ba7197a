# SPDX-License-Identifier: LGPL-3.0-or-later
"""Markers around job output in CI logs, which fold failed jobs and disarm commands in the output.

GitHub's runner reads stdout and stderr on two threads, in batches, and has one token that stops commands
for both. So the markers work only if everything goes to one stream, in whole lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pqrun.core.text import escape_controls

# The commands of GitHub's runner: `::` as the first visible text of a line, or `##[` anywhere.
_COMMAND = rb"(?:\A|[\r\n])[^!-~\r\n]*::|##\["
_OWN_LINE = r"(?m)^(\s*):(?=:)|##(?=\[)"


def ci_service(asked: str, environment: Mapping[str, str]) -> str:
    """Return the CI service whose markers to write: `github`, `gitlab` or `none`."""
    if asked != "auto":
        return asked
    if environment.get("GITHUB_ACTIONS") == "true":
        return "github"
    return "gitlab" if environment.get("GITLAB_CI") == "true" else "none"


class CIFence(NamedTuple):
    """The markers before and after a job's output on one stream."""

    before: bytes = b""
    after: bytes = b""


class CIFences:
    """The markers of one CI service: `github`, `gitlab` or `none`.

    `new_token` returns a random text that a job can't guess; `now` returns seconds since the epoch.
    """

    def __init__(self, service: str, new_token: Callable[[], str], now: Callable[[], float]) -> None:
        self._service = service
        self._new_token = new_token
        self._now = now

    @property
    def needed(self) -> bool:
        """Whether there is a CI service."""
        return self._service != "none"

    @property
    def whole_lines(self) -> bool:
        """Whether the service misses a marker that follows an unfinished line."""
        return self._service == "github"

    def around(self, title: str, output: bytes | None) -> CIFence:
        """Return the markers for one piece of output.

        `title`: the heading of the fold; empty for no fold. `output`: None if it is too long to be searched.
        """
        if self._service == "github":
            return self._github(title, output)
        if self._service == "gitlab" and title:
            return self._gitlab(title)
        return CIFence()

    def _github(self, title: str, output: bytes | None) -> CIFence:
        import re

        before, after = b"", b""
        if output is None or re.search(_COMMAND, output):
            token = self._new_token().encode()
            before, after = b"::stop-commands::%b\n" % token, b"::%b::\n" % token
        if title:
            before = b"::group::%b\n" % _one_line(title) + before
            after += b"::endgroup::\n"
        return CIFence(before, after)

    def _gitlab(self, title: str) -> CIFence:
        name = b"pqrun_%b" % self._new_token().encode()  # random, or a job could end the section
        now = int(self._now())
        start = b"\x1b[0Ksection_start:%d:%b[collapsed=true]\r\x1b[0K%b\n" % (now, name, _one_line(title))
        return CIFence(start, b"\x1b[0Ksection_end:%d:%b\r\x1b[0K\n" % (now, name))


def neutralize_commands(text: str) -> str:
    """Change pqrun's own lines, which may quote a job, so that GitHub's runner finds no command in them."""
    import re

    return re.sub(_OWN_LINE, lambda found: f"{found[1]}: " if found[1] is not None else "## ", text)


def harmless_json(text: str) -> str:
    """Return an equal JSON document in which GitHub's runner finds no command."""
    return text.replace("##[", "#\\u0023[")


def _one_line(title: str) -> bytes:
    return escape_controls(title).encode("utf-8", "replace")
