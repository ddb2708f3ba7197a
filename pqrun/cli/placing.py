# SPDX-License-Identifier: LGPL-3.0-or-later
"""Options that say where jobs run, and how to talk to that place."""

from typing import Annotated

from pqrun.cli.flags import PLACE, Options, option

LOCAL = "local"


def place(text: str) -> str:
    """Checks what `--on` says; what knows about clusters is loaded for one only."""
    if text == LOCAL:
        return text
    from pqrun.executors.dask_address import checked

    return checked(text)


class PlaceOptions(Options):
    """On this machine, or on which cluster."""

    on: Annotated[
        str,
        option("--on", help="Where jobs run: local, dask://HOST:PORT or tls://HOST:PORT", panel=PLACE, metavar="PLACE", read=place),
    ] = LOCAL  # fmt: skip
    tls_ca: Annotated[
        str | None,
        option("--tls-ca", help="With tls://: who signs the cluster's certificates", panel=PLACE, metavar="FILE"),
    ] = None  # fmt: skip
    tls_cert: Annotated[
        str | None, option("--tls-cert", help="With tls://: our certificate", panel=PLACE, metavar="FILE")
    ] = None
    tls_key: Annotated[
        str | None, option("--tls-key", help="With tls://: our key", panel=PLACE, metavar="FILE")
    ] = None
    insecure: Annotated[
        bool,
        option("--insecure", help="Talk to a cluster on another machine without TLS", panel=PLACE),
    ] = False
