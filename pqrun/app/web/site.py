# SPDX-License-Identifier: LGPL-3.0-or-later
"""The addresses of the live page, below its secret path. Only `do` changes anything, and only by POST."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from pqrun.app.web.event_stream import EventStream
from pqrun.app.web.feeds import RunFeeds
from pqrun.control.run_view import OutputPiece
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.text import escape_controls
from pqrun.core.unicode_json import as_json
from pqrun.reports.page_files import live_page, page_files
from pqrun.reports.safe_text import printed

MAX_BODY_BYTES = 1 << 20
VERBS = {
    "cancel": {"jobs", "seq"},
    "hold": {"jobs", "seq"},
    "release": {"jobs", "seq"},
    "restart": {"jobs", "failed"},
    "set": {"jobs", "seq", "change", "front"},
    "workers": {"workers"},
    "limit": {"tag", "workers"},
    "pause": set(),
    "unpause": set(),
    "stop": {"now"},
    "add": {"add"},
}
"""The requests that a page may send to a run, each with its facts."""
TYPES = {"js": "text/javascript", "css": "text/css"}
Handler = Callable[[Request], Awaitable[Response]]


def make_site(feeds: RunFeeds) -> Starlette:
    """Return the site. `AccessGuard` stands before it."""
    pages = _Pages(feeds)
    texts = page_files()

    async def page_file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in texts:
            return _failure("no such file", 404)
        return Response(texts[name], media_type=TYPES[name.rpartition(".")[2]])

    get = ["GET"]
    return Starlette(
        routes=[
            Route("/", pages.shell, methods=get),
            Route("/run/{run}", pages.shell, methods=get),
            Route("/page/{name}", page_file, methods=get),
            Route("/events", pages.list_events, methods=get),
            Route("/run/{run}/events", pages.run_events, methods=get),
            Route("/run/{run}/output", pages.output, methods=get),
            Route("/run/{run}/why", pages.why, methods=get),
            Route("/run/{run}/do", pages.do, methods=["POST"]),
        ]
    )


class _Pages:
    """The answers to the requests of a browser."""

    def __init__(self, feeds: RunFeeds) -> None:
        self._feeds = feeds

    async def shell(self, request: Request) -> Response:
        """Return the page without data. Its script asks for the events."""
        return HTMLResponse(live_page("../" if "run" in request.path_params else "./"))

    async def list_events(self, _: Request) -> Response:
        """Return the list of runs, and its changes as they come."""
        return EventStream(self._feeds.runs(), self._feeds.ended)

    async def run_events(self, request: Request) -> Response:
        """Return the data of a run, and its changes as they come."""
        name, mark = request.path_params["run"], request.headers.get("last-event-id", "")

        async def pieces() -> AsyncGenerator[bytes, None]:
            with contextlib.suppress(UserError, InternalFailure):  # the run was removed
                async with self._feeds.watching(name) as watched:
                    async for piece in watched.events(mark):
                        yield piece

        try:
            async with self._feeds.watching(name):
                return EventStream(pieces(), self._feeds.ended)
        except (UserError, InternalFailure) as failure:
            return _failure(str(failure), 404)

    async def output(self, request: Request) -> Response:
        """Return output of an attempt as text, from an offset or else its last part."""
        numbers = _numbers(request, "seq", "attempt", "stream")
        if numbers is None or numbers[2] not in (1, 2):
            return _failure("`seq`, `attempt` and `stream` are numbers", 400)
        offset = _number(request, "offset")
        try:
            async with self._feeds.watching(request.path_params["run"]) as watched:
                piece = await watched.source.call(watched.feed.printed, *numbers, offset)
        except (UserError, InternalFailure) as failure:
            return _failure(str(failure), 404)
        data = whole_lines(piece)
        facts = {
            "start": piece.start,
            "next": piece.start + len(data),
            "text": printed(data),
            "over": piece.over and len(data) == len(piece.data),
        }
        return _json(facts)

    async def why(self, request: Request) -> Response:
        """Return why a job does not run."""
        seq = _number(request, "seq")
        if seq is None:
            return _failure("`seq` is a number", 400)
        try:
            async with self._feeds.watching(request.path_params["run"]) as watched:
                return _json({"why": await watched.source.call(watched.feed.why, seq)})
        except (UserError, InternalFailure) as failure:
            return _failure(str(failure), 404)

    async def do(self, request: Request) -> Response:
        """Send a request to the run, and return its answer."""
        if self._feeds.read_only:
            return _failure("this server was started with --read-only", 403)
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _failure("the request must be JSON", 415)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                return _failure("the request is too large", 413)
        try:
            facts = json.loads(bytes(body))
        except (ValueError, RecursionError):
            facts = None
        verb = facts.pop("verb", None) if isinstance(facts, dict) else None
        if not isinstance(verb, str) or verb not in VERBS or not facts.keys() <= VERBS[verb]:
            return _failure("no such request", 400)
        try:
            async with self._feeds.watching(request.path_params["run"]) as watched:
                answer = await watched.source.call(watched.feed.act, verb, facts)
                watched.source.poll_soon()
        except (UserError, InternalFailure) as failure:
            return _failure(str(failure), 409)
        except TimeoutError:
            return _failure("the run has not answered in time: nothing was changed", 409)
        return _json(answer)


def whole_lines(piece: OutputPiece) -> bytes:
    """Return the part of a piece that ends with a line, so that no character is cut; all if there is no line end.

    The rest comes with the next piece.
    """
    end = piece.data.rfind(b"\n") + 1
    if piece.over or not end:
        return piece.data if piece.over else _whole_characters(piece.data)
    return piece.data[:end]


def _whole_characters(data: bytes) -> bytes:
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:  # the first byte of a character of several
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if length > back else data
        if byte < 0x80:
            break
    return data


def _numbers(request: Request, *names: str) -> list[int] | None:
    found = [number for name in names if (number := _number(request, name)) is not None]
    return found if len(found) == len(names) else None


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None


def _json(facts: dict[str, Any]) -> Response:
    return Response(as_json(facts), media_type="application/json")


def _failure(why: str, status: int) -> Response:
    return JSONResponse({"error": escape_controls(why)}, status)
