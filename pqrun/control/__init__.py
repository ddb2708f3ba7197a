# SPDX-License-Identifier: LGPL-3.0-or-later
"""Talking to a live run through the socket in its directory."""
