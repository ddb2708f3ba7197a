# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whether what is installed at a cluster fits what is here: pqrun the same everywhere, Dask not too old."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pqrun import __version__
from pqrun.errors import UserError
from pqrun.executors.dask_address import Address

PACKAGE = "pqrun-cli"
OLDEST = (2025, 12)


def security_of(address: Address) -> Any:
    """Dask's word for how the connection is encrypted."""
    from distributed.security import Security

    tls = address.tls
    if tls is None:
        return Security()
    return Security(
        tls_ca_file=tls.ca, tls_client_cert=tls.cert, tls_client_key=tls.key, require_encryption=True
    )


async def check_versions(address: Address, here: str) -> str:
    """Asks the scheduler and all workers; the scheduler's version of Dask, `UserError` for what does not fit."""
    from distributed.core import rpc

    try:
        ours = version(PACKAGE)  # what the others are asked for too
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
                f"--on {address.given}: pqrun {ours} here, {there} on {who}: they have to be the same"
            )
        if tuple(int(n) for n in dask.split(".")[:2] if n.isdigit()) < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise UserError(
                f"--on {address.given}: distributed {here} here, {dask} on {who}: it takes {oldest} or newer"
            )
    return scheduler_has
