# SPDX-License-Identifier: LGPL-3.0-or-later
"""Who may ask the web server: nobody without the token, no other site, and nobody by another name."""

import asyncio
import json
import os

import pytest
from control.conftest import queues

from pqrun.app.web.access import AccessGuard, AccessKeys
from web.conftest import servers

READS = ("/", "/events", "/run/queue", "/run/queue/events", "/run/queue/output?seq=1&attempt=1&stream=1",
         "/run/queue/why?seq=1", "/page/live.js")  # fmt: skip


@pytest.fixture(scope="module", name="state")
def shared_state(tmp_path_factory):
    """One place of runs for all tests: what is refused changes nothing for the next test."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module", name="server")
def shared_server(state, tmp_path_factory):
    with servers(state, tmp_path_factory.mktemp("server")) as serve:
        yield serve()


@pytest.fixture(scope="module")
def watched(server, state, tmp_path_factory):
    """The server with a queue that a request could change."""
    with queues(state, tmp_path_factory.mktemp("queue")) as serve:
        server.run = serve("-j1")
        yield server


def is_unchanged(server):
    return server.run.ask("ps")["paused"] is False


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("cookie", ["", "pqrun=", "pqrun=x", "other=1"])
def test_nothing_is_read_without_the_token(server, path, cookie):
    assert server.get(path, cookie=cookie)[0] == 403


@pytest.mark.parametrize("token", ["", "?token=", "?token=wrong", "?token=%FF", "?other=1"])
def test_a_wrong_token_gives_no_cookie(server, token):
    status, body, head = server.ask("GET", f"/{token}", cookie="")
    assert status == 403 and "set-cookie" not in head and server.path.encode() not in body


def test_the_address_leads_to_the_pages_and_their_cookie_is_for_them_alone(server):
    status, body, head = server.ask("GET", f"/?token={server.token}", cookie="")
    assert status == 200 and server.token.encode() not in body
    assert head["set-cookie"] == f"pqrun={server.token}; HttpOnly; Path={server.path}/; SameSite=strict"
    assert server.get("/")[0] == 200
    assert server.ask("GET", "/events")[0] == 403  # the cookie alone, without the secret path


@pytest.mark.parametrize(
    "cookies",
    [
        "pqrun=x; {}",
        "{}; pqrun=x",
        'theme={{"dark": true}}; {}',
        'a="b; {}',
        "=; ;;{};",
        "b=\xe4; {}",
        " a = b;\t{}",
    ],
)
def test_cookies_that_other_servers_of_this_host_have_set_do_not_lock_the_user_out(server, cookies):
    assert server.get("/", cookie=cookies.format(server.cookie))[0] == 200
    assert server.get("/", cookie=cookies.format("pqrun=y"))[0] == 403


@pytest.mark.parametrize(
    "cookie",
    ["{}x", "x{}", "PQRUN={token}", "pqrun2={token}", "{token}", "pqrun;{token}", "pqrun={token}=", "a={}"],
)
def test_a_cookie_that_is_almost_right_is_wrong(server, cookie):
    assert server.get("/", cookie=cookie.format(server.cookie, token=server.token))[0] == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "[::1", "localhost.:{port}",
        "127.0.0.1.evil.example:{port}", "evil.example@127.0.0.1:{port}", "127.0.0.1:{port}@evil.example",
        "evil.example#127.0.0.1:{port}", "0.0.0.0:{port}", "127.1:{port}", "2130706433:{port}", "127.0.0.1:{port},x",
        "127.0.0.1:0{port}",
    ],
)  # fmt: skip
def test_another_name_for_the_server_is_refused(watched, host):
    name = host.format(port=watched.port) or " "
    assert watched.ask("GET", f"/?token={watched.token}", host=name)[0] in (400, 403)
    assert watched.get("/", host=name)[0] in (400, 403)
    status, _ = watched.do(watched.run.run, "pause", host=name or " ", Origin=f"http://{name}")
    assert status in (400, 403) and is_unchanged(watched)


def test_the_usual_names_are_accepted(server):
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        assert server.get("/", host=f"{name}:{server.port}")[0] == 200


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1", "https://{host}", "http://127.0.0.1:1", "http://localhost:{port}"])  # fmt: skip
def test_a_change_from_another_site_is_refused(watched, origin):
    if origin:
        origin = origin.format(host=f"127.0.0.1:{watched.port}", port=watched.port)
    assert watched.do(watched.run.run, "pause", Origin=origin)[0] == 403
    assert is_unchanged(watched)


def test_reading_from_another_site_is_refused(server):
    assert server.get("/events", Origin="http://evil.example")[0] == 403
    for site in ("cross-site", "same-site"):
        assert server.get("/page/live.js", Sec_Fetch_Site=site)[0] == 403
    assert server.get("/page/live.js", Sec_Fetch_Site="same-origin")[0] == 200


def test_a_change_without_the_token_is_refused(watched):
    for cookie in ("", "pqrun=wrong"):
        status, _, _ = watched.ask(
            "POST", f"{watched.path}/run/{watched.run.run}/do", body='{"verb":"pause"}', cookie=cookie,
            Origin=watched.origin, Content_Type="application/json",
        )  # fmt: skip
        assert status == 403
    assert is_unchanged(watched)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_only_a_post_changes_anything(watched, method):
    path = f"{watched.path}/run/{watched.run.run}/do?verb=pause"
    status, _, head = watched.ask(
        method, path, body='{"verb":"pause"}', Origin=watched.origin, Content_Type="application/json"
    )
    assert status in (403, 405) and is_unchanged(watched)
    assert not [name for name in head if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_what_a_form_of_another_site_can_send_is_refused(watched, kind):
    assert watched.do(watched.run.run, "pause", Content_Type=kind)[0] == 415
    assert is_unchanged(watched)


BODIES = ["", "[]", "null", "{", '{"verb":1}', '{"verb":"ps"}', '{"verb":"output"}', '{"verb":"pause","x":1}',
          '{"verb":"cancel","by":"me"}', '"pause"', "[" * 100_000]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_request_that_is_not_meant_is_refused(watched, body):
    status, _, _ = watched.ask(
        "POST", f"{watched.path}/run/{watched.run.run}/do", body=body,
        Origin=watched.origin, Content_Type="application/json",
    )  # fmt: skip
    assert status == 400 and is_unchanged(watched)


def test_a_request_that_is_too_large_is_refused(watched):
    body = json.dumps({"verb": "add", "add": [{"run": "x" * 2_000_000}]})
    status, _, _ = watched.ask(
        "POST", f"{watched.path}/run/{watched.run.run}/do", body=body,
        Origin=watched.origin, Content_Type="application/json",
    )  # fmt: skip
    assert status == 413 and watched.run.jobs() == {}


@pytest.mark.slow
def test_read_only_refuses_all_changes(serve, queue):
    server, run = serve("--read-only"), queue("-j1", run="other")
    for verb in ("pause", "cancel", "stop", "add", "workers", "nonsense"):
        assert server.do(run.run, verb)[0] == 403
    assert run.ask("ps")["paused"] is False
    head = next(data for _, kind, data in server.events(f"/run/{run.run}/events") if kind == "head")
    assert head["readOnly"] is True and head["live"] is True


@pytest.mark.parametrize("path", [*READS, "/nothing"])
def test_every_answer_forbids_what_the_page_does_not_need(server, path):
    if path.endswith("events"):
        connection = server.connection()
        connection.request(
            "GET",
            server.path + "/events",
            headers={"Host": f"127.0.0.1:{server.port}", "Cookie": server.cookie},
        )
        head = dict(connection.getresponse().getheaders())
        connection.close()
    else:
        head = server.ask("GET", server.path + path)[2]
    policy = dict(part.split(" ", 1) for part in head["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
        "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
    }  # fmt: skip
    assert (head["x-content-type-options"], head["cache-control"], head["referrer-policy"]) == (
        "nosniff", "no-store", "no-referrer",
    )  # fmt: skip
    assert not [name for name in head if name.lower() in ("server", "access-control-allow-origin")]


@pytest.mark.parametrize("path", ["/run/../../etc/passwd", "/run/%2e%2e%2fx", "/page/../__init__.py", "/page/%2e%2e%2fhtml.py", "/run/no-such-run/events", "/run//events", "/page/page.html"])  # fmt: skip
def test_no_other_file_or_directory_is_read(server, path):
    assert server.get(path)[0] in (403, 404)


@pytest.mark.parametrize("run", ["..%2f..%2fruns%2fqueue", "queue%2f..%2fqueue", "queue%00", "%2e", "%2fetc", "QUEUE", "queu"])  # fmt: skip
def test_a_run_has_one_name_only(watched, run):
    for path in ("events", "output?seq=1&attempt=1&stream=1", "why?seq=1"):
        assert watched.get(f"/run/{run}/{path}")[0] == 404
    status, _, _ = watched.ask(
        "POST", f"{watched.path}/run/{run}/do", body='{"verb":"pause"}',
        Origin=watched.origin, Content_Type="application/json",
    )  # fmt: skip
    assert status in (404, 409) and is_unchanged(watched)


def lines(*words):
    return "".join(f"{word}\r\n" for word in words)


def pause(server, *more):
    """A request that pauses the run, as its page sends it."""
    body = '{"verb":"pause"}'
    return lines(
        f"POST {server.path}/run/{server.run.run}/do HTTP/1.1", f"Host: 127.0.0.1:{server.port}",
        f"Cookie: {server.cookie}", f"Origin: {server.origin}", "Content-Type: application/json",
        f"Content-Length: {len(body)}", *more, "",
    ) + body  # fmt: skip


def test_the_body_of_a_refused_request_is_not_read_as_a_request(watched):
    hidden = pause(watched)
    refused = lines(
        f"POST {watched.path}/ HTTP/1.1", f"Host: 127.0.0.1:{watched.port}", "Origin: http://evil.example",
        "Content-Type: text/plain", f"Content-Length: {len(hidden)}", "",
    )  # fmt: skip
    last = lines("GET / HTTP/1.1", f"Host: 127.0.0.1:{watched.port}", "Connection: close", "")
    assert watched.raw(refused + hidden + last) == [403, 403]
    assert is_unchanged(watched)


def test_each_request_of_a_connection_proves_itself(watched):
    page = lines(
        f"GET {watched.path}/ HTTP/1.1", f"Host: 127.0.0.1:{watched.port}", f"Cookie: {watched.cookie}", ""
    )
    stranger = pause(watched, "Connection: close").replace(f"Cookie: {watched.cookie}\r\n", "")
    assert watched.raw(page + stranger) == [200, 403]
    assert is_unchanged(watched)


@pytest.mark.parametrize(
    "more", ["Host: evil.example", "Content-Length: 3", "Transfer-Encoding: gzip", "Cookie\0: x"]
)
def test_a_request_with_two_meanings_is_refused(watched, more):
    assert watched.raw(pause(watched, more, "Connection: close"))[0] in (400, 403, 501)
    assert is_unchanged(watched)


def test_a_request_for_another_host_by_way_of_this_one_is_refused(watched):
    asked = pause(watched, "Connection: close").replace("POST /", "POST http://evil.example/", 1)
    assert watched.raw(asked) == [403] and is_unchanged(watched)


def test_no_connection_becomes_a_web_socket(watched):
    for origin, status in ((watched.origin, 200), ("http://evil.example", 403)):
        asked = lines(
            f"GET {watched.path}/ HTTP/1.1", f"Host: 127.0.0.1:{watched.port}", f"Cookie: {watched.cookie}",
            f"Origin: {origin}", "Connection: Upgrade, close", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "",
        )  # fmt: skip
        assert watched.raw(asked) == [status]


def test_a_failure_of_the_site_is_an_answer_and_is_not_hidden(capsys):
    keys, sent = AccessKeys(), []

    async def site(scope, receive, send):
        raise ZeroDivisionError("a bug")

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"127.0.0.1:80"), (b"cookie", f"pqrun={keys.token}".encode())]
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"{keys.path}/",
        "query_string": b"",
        "headers": headers,
    }
    asyncio.run(AccessGuard(site, keys, "127.0.0.1", 80)(scope, None, send))
    assert [message.get("status", message.get("body")) for message in sent] == [
        500,
        b'{"error":"internal error"}',
    ]
    assert (b"x-frame-options", b"DENY") in sent[0]["headers"]
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err


def test_a_run_in_another_place_or_of_another_user_is_not_shown(server, state, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "journal.jsonl").write_text("{}\n")
    runs = state / "runs"
    runs.mkdir(exist_ok=True)
    (runs / "link").symlink_to(tmp_path / "elsewhere")
    assert server.get("/run/link/events")[0] == 404


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
def test_a_run_of_another_user_in_the_same_place_is_neither_shown_nor_changed(watched):
    directory = watched.run.directory
    os.chown(directory, 65534, -1)
    try:
        assert watched.get("/run/queue/events")[0] == 404
        assert watched.do("queue", "pause")[0] == 409
    finally:
        os.chown(directory, os.geteuid(), -1)
    assert is_unchanged(watched)
