#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A small server to try downloads.yaml and linkcheck.sh with: each path is busy the first time.

    python3 examples/flaky_server.py 8080

It answers 503 with `Retry-After: 1` to the first request for a path, 200 to later ones, and always 404
to what begins with /gone. It listens on this machine alone.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Flaky(BaseHTTPRequestHandler):
    """Counts who was there before."""

    seen: set[str] = set()

    def do_GET(self) -> None:
        """Answers."""
        path = self.path
        code = 404 if path.startswith("/gone") else 200 if path in self.seen else 503
        self.seen.add(path)
        body = f"{code} {path}\n".encode()
        self.send_response(code)
        if code == 503:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Flaky) as server:
        sys.stderr.write(f"http://127.0.0.1:{server.server_port}/\n")
        server.serve_forever()
