# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where a cluster is, as `--on` says it, and whether it is safe to talk to it. Connects to nothing."""

from __future__ import annotations

import os
from typing import NamedTuple

from pqrun.errors import UserError

_ACCEPTED = "accepted: local, dask://HOST:PORT, tls://HOST:PORT"


class Tls(NamedTuple):
    """Files for an encrypted connection: who signs, who we are, and our key."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


class Address(NamedTuple):
    """A cluster's scheduler. `given` is what the user wrote, `url` what Dask calls it."""

    given: str
    url: str
    tls: Tls | None


def checked(text: str) -> str:
    """A cluster as `--on` names it; `ValueError` if it is none."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("dask", "tls") and parts.hostname and parts.port
    except ValueError:
        whole = None
    if not whole or parts.path.strip("/") or parts.query or parts.username:
        raise ValueError(f"not a place where jobs can run: `{text}` ({_ACCEPTED})")
    return text


def address_of(text: str, tls: Tls, *, insecure: bool) -> Address:
    """The scheduler's address; `UserError` if it must not be talked to like this."""
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
        raise UserError(f"--tls-ca, --tls-cert and --tls-key are for tls://, not for --on {text}")
    if not (insecure or is_loopback(host)):
        raise UserError(
            f"--on {text}: without TLS whoever reaches that port runs commands there as you; "
            f"use tls://{where}, or --insecure in a network that you trust"
        )
    return Address(text, f"tcp://{where}", None)


def is_loopback(host: str) -> bool:
    """Whether only this machine can be meant."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
