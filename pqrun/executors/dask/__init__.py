# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands on the workers of a Dask cluster.

From outside: `DaskBackend` for a run with `--on`, and `address.address_of` for the option itself.

backend            connect to the cluster and take the run there; close the connection
executor           run attempts on the cluster, as the engine's executor
transfer           send attempts in batches, where a worker has their resources; fetch what they printed
attempts           the attempts on the cluster, and what messages mean for them (pure)
connection         connect to the scheduler, watch the connection, reconnect
address            parse `--on dask://...`; TLS and versions
scheduler_plugin   pqrun's plugin in the Dask scheduler
worker_plugin      pqrun's plugin in each Dask worker
worker_messages    send a worker's messages in batches; tell whether it can write
"""
