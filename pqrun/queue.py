# SPDX-License-Identifier: LGPL-3.0-or-later
"""The queue as a Python library: the engine of the command line, for a program's own functions.

It is a guest in that program: no signal handlers, nothing said on its streams, all its threads and
descriptors gone after `shutdown`. Futures are resolved and callbacks called outside the engine's lock.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from math import inf
from threading import TIMEOUT_MAX, Condition, Lock, Thread, current_thread
from types import TracebackType
from typing import Any, Generic, TypeVar

from pqrun import events as ev
from pqrun import lifecycle as life
from pqrun.clock import SystemClock
from pqrun.engine import Engine, NoJournal
from pqrun.executors.call import Calls, CallTask, Context
from pqrun.executors.guest import Guest
from pqrun.executors.slots import Slots
from pqrun.executors.slots import Task as SlotTask
from pqrun.library import Config, Handle, Job, P, QueueClosed, QueueEmpty, QueueFull, as_priority
from pqrun.metrics import Metrics, RunningMetrics
from pqrun.model import Attempt, Command, JobSpec, Priority, RetryPolicy
from pqrun.scheduler import Scheduler
from pqrun.task import Task
