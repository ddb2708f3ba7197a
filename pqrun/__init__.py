# SPDX-License-Identifier: LGPL-3.0-or-later
"""pqrun runs shell commands: in priority order, some at a time, each with a limit and a record."""

__version__ = "0.1.0"
