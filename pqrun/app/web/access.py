# SPDX-License-Identifier: LGPL-3.0-or-later
"""The access to the web server, and the headers of its answers.

A browser proves itself by a cookie that it gets for the token in the printed address. All pages are under a
secret path, and the cookie is sent to that path alone: browsers send cookies to every port of a host, so that
without it another user's server on this machine would get the cookie.
"""

from __future__ import annotations

import secrets
import socket
import sys
import traceback
from ipaddress import ip_address
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "pqrun"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_ENTRY = '<!DOCTYPE html><html lang="en"><title>pqrun</title><meta http-equiv="refresh" content="0;url={}/">'
_DENIED = (
    '<!DOCTYPE html><html lang="en"><title>pqrun</title><h1>No access</h1>'
    "<p>Open the address with the token that <code>pqrun web</code> printed.</p>"
)


class AccessKeys:
    """The secrets of one server: the token of the printed address, and the path of the pages."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self.path = f"/{secrets.token_urlsafe(16)}"


class AccessGuard:
    """A guard before the pages. Refused requests get 403 and change nothing."""

    def __init__(self, site: ASGIApp, keys: AccessKeys, host: str, port: int) -> None:
        self._site = site
        self._keys = keys
        self._allowed = _HostNames(host, port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on without the secret path."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        if scope["type"] != "http":
            return
        answer = self._refusal(scope)
        if answer is not None:
            await answer(scope, receive, send_with_headers)
            return
        path = scope["path"].removeprefix(self._keys.path)
        try:
            await self._site({**scope, "path": path, "raw_path": None}, receive, send_with_headers)
        except Exception:
            # A bug. The other browsers and runs must not suffer, but it must not go unseen either.
            traceback.print_exc(file=sys.stderr)
            await JSONResponse({"error": "internal error"}, 500)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not passed on; None for one that may be."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._allowed.is_host(host):
            return _refused("this server is not known by that name")
        origin = headers.get("origin")
        reads = scope["method"] in ("GET", "HEAD")
        if (origin is not None or not reads) and origin != f"http://{host}":
            return _refused("the request is from another site")
        if scope["path"] == "/" and reads:
            return self._entry(scope)
        if not scope["path"].startswith(f"{self._keys.path}/") or not self._is_known(headers):
            return HTMLResponse(_DENIED, 403)
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _refused("the request is from another site")
        return None

    def _entry(self, scope: Scope) -> Response:
        """Take the token, give the cookie, and lead to the pages without the token in the address."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not secrets.compare_digest(given.encode(), self._keys.token.encode()):
            return HTMLResponse(_DENIED, 403)
        answer = HTMLResponse(_ENTRY.format(self._keys.path))
        answer.set_cookie(
            COOKIE, self._keys.token, path=f"{self._keys.path}/", httponly=True, samesite="strict"
        )
        return answer

    def _is_known(self, headers: Headers) -> bool:
        """Return whether a request has the cookie.

        One right cookie is enough. Servers on other ports of this host set cookies for our pages, too, which may have
        the same name, or a form at which a strict parser gives up.
        """
        pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
        token = self._keys.token.encode()
        return any(
            name == COOKIE and secrets.compare_digest(value.encode(), token) for name, _, value in pairs
        )


class _HostNames:
    """The names under which browsers may ask the server, against names that others make point to it."""

    def __init__(self, host: str, port: int) -> None:
        self._port = port
        self._names = {"localhost", "127.0.0.1", "[::1]", bracketed(host).lower()}
        self._anywhere = not is_loopback(host)
        if self._anywhere:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def is_host(self, header: str) -> bool:
        """Return whether a `Host` names this server. An address of digits can't be pointed elsewhere."""
        name, colon, port = header.rpartition(":")
        if not colon or port.endswith("]"):
            name, port = header, "80"
        if port != str(self._port):
            return False
        return name.lower() in self._names or (self._anywhere and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def bracketed(host: str) -> str:
    """Return the host as an address of the web has it."""
    return f"[{host}]" if ":" in host else host


def _refused(why: str) -> Response:
    return JSONResponse({"error": why}, 403)
