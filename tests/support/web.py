# SPDX-License-Identifier: LGPL-3.0-or-later
"""`pqrun web` as a process, and a client of it that sends what a test says."""

import http.client
import json
import re
import signal
import socket
import subprocess
from urllib.parse import urlsplit

from support.process import MAX_SECONDS, environment, kill_and_close, start_pqrun


class WebServer:
    """The server, and what a browser knows after it has opened the printed address."""

    def __init__(self, *options, state, cwd, listen="127.0.0.1:0"):
        self.process = start_pqrun(
            "web", "--listen", listen, *options,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=environment(state=state),
        )  # fmt: skip
        self.address = self.process.stdout.readline().decode().rstrip("\n")
        parts = urlsplit(self.address)
        self.host, self.port, self.token = parts.hostname, parts.port, parts.query.removeprefix("token=")
        self.origin = f"http://{parts.netloc}"
        entry, head = self.ask("GET", f"/?token={self.token}", cookie="")[1:]
        self.cookie = head["set-cookie"].partition(";")[0]
        self.path = re.search(rb"url=(/[\w-]+)/", entry)[1].decode()

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=MAX_SECONDS)

    def ask(self, method, path, *, body=None, cookie=None, host=None, **headers):
        """The status, the body and the headers of an answer. A header that is None is not sent."""
        connection = self.connection()
        sent = {
            "Host": host or f"{self.host}:{self.port}",
            "Cookie": self.cookie if cookie is None else cookie,
        }
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(
            method, path, body, {name: value for name, value in sent.items() if value is not None}
        )
        answer = connection.getresponse()
        found = answer.status, answer.read(), dict(answer.getheaders())
        connection.close()
        return found

    def raw(self, text):
        """Send bytes as they are, and return the statuses of the answers until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=MAX_SECONDS) as connection:
            connection.sendall(text.encode())
            with connection.makefile("rb") as file:
                return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", file.read())]

    def get(self, path, **headers):
        status, body, _ = self.ask("GET", f"{self.path}{path}", **headers)
        return status, body

    def do(self, run, verb, facts=None, **headers):
        """Send a request that changes a run as the page does, with the headers that the test gives."""
        headers = {"Origin": self.origin, "Content_Type": "application/json", **headers}
        body = json.dumps({"verb": verb, **(facts or {})})
        status, answer, _ = self.ask("POST", f"{self.path}/run/{run}/do", body=body, **headers)
        return status, json.loads(answer)

    def events(self, path, **headers):
        """The events of a stream as they come: mark, kind, data."""
        connection = self.connection()
        sent = {"Host": f"{self.host}:{self.port}", "Cookie": self.cookie, **headers}
        connection.request("GET", f"{self.path}{path}", headers=sent)
        answer = connection.getresponse()
        assert answer.status == 200
        fields = {}
        try:
            while line := answer.readline():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif "event" in fields:
                    yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
                    fields = {}
        finally:
            connection.close()

    def told(self, run, **headers):
        """What the stream of a run tells."""
        return Told(self.events(f"/run/{run}/events", **headers))

    def end(self, number=signal.SIGTERM):
        """End it by a signal: its exit code, and what it has printed after the address."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=MAX_SECONDS)
        return self.process.returncode, out.decode(), err.decode()

    def close(self):
        kill_and_close(self.process)


class Told:
    """The newest records of a stream of events by kind and key, the head of the run, and where the stream is."""

    def __init__(self, events):
        self._events = events
        self.mark, self.kinds, self.head = "", [], None
        self._forget()

    def _forget(self):
        self.jobs, self.attempts, self.waits = {}, {}, {}

    @property
    def states(self):
        return {job["id"]: job["state"] for job in self.jobs.values()}

    def until(self, fact):
        """Read on until `fact(self)` is true at the end of an update."""
        for mark, kind, data in self._events:
            self.kinds.append(kind)
            self.mark = mark or self.mark
            if kind == "anew":
                self._forget()
            elif kind == "chunk":
                for one in rows(data):
                    key = one["seq"] if data["kind"] == "jobs" else (one["seq"], one["attempt"])
                    getattr(self, data["kind"])[key] = one
            elif kind == "head":
                self.head = data
                if fact(self):
                    return self
        raise AssertionError("the stream has ended")

    def close(self):
        self._events.close()


def rows(chunk):
    """The records of a chunk, as dictionaries."""
    columns = {}
    for name, column in chunk["columns"].items():
        if isinstance(column, list):
            columns[name] = column
        elif "all" in column:
            columns[name] = [column["all"]] * chunk["rows"]
        else:
            columns[name] = [column["values"][at] for at in column["at"]]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
