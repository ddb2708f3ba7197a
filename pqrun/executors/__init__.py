# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where jobs run: on this machine, on a Dask cluster, or as Python calls.

thread_pool   a pool of threads that take attempts
python_call   one Python call as an attempt
local/        commands as processes of this machine
dask/         commands on the workers of a Dask cluster
"""
