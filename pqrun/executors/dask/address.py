# SPDX-License-Identifier: LGPL-3.0-or-later
"""The address of a cluster, as `--on` gives it, and the check that the address is safe to use."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from pqrun import __version__
from pqrun.core.errors import UserError


class Tls(NamedTuple):
    """The files for an encrypted connection: the certificate authority, our certificate and our key."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


class Address(NamedTuple):
    """The address of a Dask scheduler. `given`: the user's text. `url`: the form that Dask takes."""

    given: str
    url: str
    tls: Tls | None


def address_of(text: str, tls: Tls, *, insecure: bool) -> Address:
    """Parse the address. Raises UserError if it is not safe: without TLS, other hosts need `--insecure`."""
    from urllib.parse import urlsplit

    parts = urlsplit(text)
    host = parts.hostname or ""
    where = f"[{host}]:{parts.port}" if ":" in host else f"{host}:{parts.port}"
    if parts.scheme == "tls":
        for option, path in (("--tls-ca", tls.ca), ("--tls-cert", tls.cert), ("--tls-key", tls.key)):
            if path is None:
                raise UserError(f"--on {text} needs {option} FILE")
            if not os.access(path, os.R_OK):
                raise UserError(f"{option}: cannot read {path}")
        return Address(text, f"tls://{where}", tls)
    if any(tls):
        raise UserError(
            f"--tls-ca, --tls-cert and --tls-key need tls://: they can't be used with --on {text}"
        )
    if not (insecure or is_loopback(host)):
        raise UserError(
            f"--on {text}: without TLS, anyone who reaches this port can run commands as you: "
            f"use tls://{where}, or --insecure in a network that you trust"
        )
    return Address(text, f"tcp://{where}", None)


def is_loopback(host: str) -> bool:
    """Say whether `host` always means this machine."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


PACKAGE = "pqrun-cli"
MIN_VERSION = (2025, 12)


def security_of(address: Address) -> Any:
    """Return Dask's security settings for this address."""
    from distributed.security import Security

    tls = address.tls
    if tls is None:
        return Security()
    return Security(
        tls_ca_file=tls.ca, tls_client_cert=tls.cert, tls_client_key=tls.key, require_encryption=True
    )


async def check_versions(address: Address, here: str) -> str:
    """Check that the scheduler and all workers have suitable versions of pqrun and Dask.

    Returns the scheduler's version of Dask. Raises UserError if a version does not fit.
    """
    from distributed.core import rpc

    try:
        ours = version(PACKAGE)  # the other hosts report the version of this package too
    except PackageNotFoundError:
        ours = __version__
    ask = {"packages": [PACKAGE]}
    arguments = security_of(address).get_connection_args("client")
    async with rpc(address.url, connection_args=arguments) as scheduler:
        found = {"the scheduler": await scheduler.versions(**ask)}
        answers = await scheduler.broadcast(msg={"op": "versions", **ask}, on_error="ignore")
        found |= {f"the worker {address}": answer for address, answer in answers.items()}
    scheduler_has = "an unknown version"
    for who, versions in found.items():
        packages = dict(versions.get("packages", {}))
        there, dask = packages.get(PACKAGE), str(packages.get("distributed"))
        scheduler_has = dask if who == "the scheduler" else scheduler_has
        if not there:
            cure = f"pip install 'pqrun-cli[dask]=={ours}' there"
            raise UserError(f"--on {address.given}: {who} has no pqrun: {cure}")
        if there != ours:
            raise UserError(
                f"--on {address.given}: pqrun {ours} here, {there} on {who}: install the same version on both"
            )
        if tuple(int(n) for n in dask.split(".")[:2] if n.isdigit()) < MIN_VERSION:
            oldest = ".".join(map(str, MIN_VERSION))
            raise UserError(
                f"--on {address.given}: distributed {here} here, {dask} on {who}: install {oldest} or newer"
            )
    return scheduler_has
