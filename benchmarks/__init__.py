# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measures against other tools, side by side; never part of the tests."""
