# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where jobs are to run, as it is said: what is refused without any cluster."""

import pytest

from pqrun.core.errors import UserError
from pqrun.core.values import place
from pqrun.executors.dask.address import Address, Tls, address_of, is_loopback

NO_TLS = Tls()


@pytest.mark.parametrize(
    "text", ["local", "dask://127.0.0.1:8786", "dask://[::1]:8786", "tls://head.example:8786"]
)
def test_places(text):
    assert place(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "dask", "dask://", "dask://host", "dask://host:x", "dask://host:1/x", "tcp://h:1", "dask://u@h:1"],
)
def test_no_places(text):
    with pytest.raises(ValueError, match="accepted: local, dask://HOST:PORT, tls://HOST:PORT"):
        place(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("10.0.0.1", False),
     ("localhost.example", False), ("0.0.0.0", False), ("head", False)],
)  # fmt: skip
def test_loopback_is_only_what_can_be_nothing_else(host, loopback):
    assert is_loopback(host) is loopback


def test_another_machine_without_tls_is_refused_unless_it_is_wanted():
    with pytest.raises(UserError, match="use tls://head:8786, or --insecure in a network that you trust"):
        address_of("dask://head:8786", NO_TLS, insecure=False)
    wanted = address_of("dask://head:8786", NO_TLS, insecure=True)
    assert wanted == Address("dask://head:8786", "tcp://head:8786", None)
    assert address_of("dask://[::1]:1", NO_TLS, insecure=False).url == "tcp://[::1]:1"


def test_tls_needs_its_three_files(tmp_path):
    files = [str(tmp_path / name) for name in ("ca", "cert", "key")]
    for n, option in enumerate(("--tls-ca", "--tls-cert", "--tls-key")):
        with pytest.raises(UserError, match=f"needs {option} FILE"):
            address_of("tls://head:1", Tls(*files[:n]) if n == 0 else _made(files, n), insecure=False)
    (tmp_path / "key").touch()
    assert address_of("tls://head:1", Tls(*files), insecure=False).tls == Tls(*files)


def _made(files, n):
    open(files[n - 1], "w").close()
    return Tls(*files[:n])


def test_tls_files_are_for_tls(tmp_path):
    with pytest.raises(UserError, match="need tls://"):
        address_of("dask://127.0.0.1:1", Tls(ca="x"), insecure=False)


@pytest.mark.slow
def test_without_dask_it_is_told_what_to_install(pqrun, tmp_path):
    (tmp_path / "distributed.py").write_text("raise ImportError")
    run = pqrun("run", "--on", "dask://127.0.0.1:9", input=b"true\n", env={"PYTHONPATH": str(tmp_path)})
    assert run.code == 2
    assert "pip install 'pqrun-cli[dask]'" in run.err
