# SPDX-License-Identifier: LGPL-3.0-or-later
"""Options that hold back starts, and the one that leaves a part of the jobs to other machines."""

from typing import Annotated

from pqrun.cli.flags import SCHEDULING, Options, option
from pqrun.jobfile import kinds, values
from pqrun.model import Rate, Shard


class PacingOptions(Options):
    """How fast a run may go, and which part of it is this machine's."""

    delay: Annotated[
        float | None,
        option(
            "--delay",
            help="Wait at least so long between starts",
            panel=SCHEDULING,
            metavar="DUR",
            read=values.duration,
        ),
    ] = None
    rate: Annotated[
        Rate | None,
        option(
            "--rate",
            help="Start no more than N jobs in any such time, as in 50/1m",
            panel=SCHEDULING,
            metavar="N/DUR",
            read=kinds.rate,
        ),
    ] = None
    load: Annotated[
        str | None,
        option(
            "--load",
            help="Start nothing while so many processes run here: 8, 1.5 or 80% of the CPUs",
            panel=SCHEDULING,
            metavar="MAX",
            read=kinds.load,
        ),
    ] = None
    memfree: Annotated[
        int | None,
        option(
            "--memfree",
            help="Start nothing while less memory is free, as in 2G",
            panel=SCHEDULING,
            metavar="SIZE",
            read=values.size,
        ),
    ] = None
    shard: Annotated[
        Shard | None,
        option(
            "--shard",
            help="Only the I-th of N parts of the jobs, as in 1/4; needs come along",
            panel=SCHEDULING,
            metavar="I/N",
            read=kinds.shard,
        ),
    ] = None
