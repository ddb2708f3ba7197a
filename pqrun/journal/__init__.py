# SPDX-License-Identifier: LGPL-3.0-or-later
"""The event log of a run, and what is read out of it."""
