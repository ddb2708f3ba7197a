# SPDX-License-Identifier: LGPL-3.0-or-later
"""Executors, which run attempts: on this machine, on a Dask cluster, or as Python calls.

From outside: `local.backend.backend_of` for a run, `ThreadPoolExecutor` with `CallTask` for a queue in a program.

thread_pool   run attempts in a pool of threads
python_call   run one Python call as an attempt
simulated     run attempts in simulated time: for dry runs and tests
local/        run commands as processes of this machine
dask/         run commands on the workers of a Dask cluster
"""
