# SPDX-License-Identifier: LGPL-3.0-or-later
"""pqrun runs shell commands in order of priority, several at a time, with time limits, retries and a log.

As a library it does the same for Python functions: see `Queue`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pqrun.core.job import Priority as Priority
    from pqrun.core.metrics import Metrics as Metrics
    from pqrun.executors.local.embedded import ShellResult as ShellResult
    from pqrun.executors.python_call import Context as Context
    from pqrun.executors.python_call import PermanentError as PermanentError
    from pqrun.library.config import Config as Config
    from pqrun.library.config import Job as Job
    from pqrun.library.config import JobFailed as JobFailed
    from pqrun.library.config import JobTimeout as JobTimeout
    from pqrun.library.config import QueueClosed as QueueClosed
    from pqrun.library.config import QueueEmpty as QueueEmpty
    from pqrun.library.config import QueueFull as QueueFull
    from pqrun.library.queue import Queue as Queue

__version__ = "0.1.0"

# Imported at the first access, because the command line starts faster without these modules.
_WHERE = {
    "Config": "library.config",
    "Context": "executors.python_call",
    "Job": "library.config",
    "JobFailed": "library.config",
    "JobTimeout": "library.config",
    "Metrics": "core.metrics",
    "PermanentError": "executors.python_call",
    "Priority": "core.job",
    "Queue": "library.queue",
    "QueueClosed": "library.config",
    "QueueEmpty": "library.config",
    "QueueFull": "library.config",
    "ShellResult": "executors.local.embedded",
}
__all__ = [
    "Config", "Context", "Job", "JobFailed", "JobTimeout", "Metrics", "PermanentError", "Priority", "Queue",
    "QueueClosed", "QueueEmpty", "QueueFull", "ShellResult",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
