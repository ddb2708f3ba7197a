# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands on the workers of a Dask cluster.

backend            what a run needs; opens and closes it
executor           attempts on the cluster, as the engine's executor
attempts           which attempts are there, and what messages mean (pure)
connection         the connection: made, watched, made again
address            `--on dask://...`, TLS, versions
output             fetch what attempts printed
scheduler_plugin   our plugin in the Dask scheduler
worker_plugin      our plugin in each worker
worker_messages    messages of a worker, batched
worker_disk        whether a worker can write
"""
