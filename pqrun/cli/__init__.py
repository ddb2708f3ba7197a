# SPDX-License-Identifier: LGPL-3.0-or-later
"""Flags to `Settings`; no other thought."""
