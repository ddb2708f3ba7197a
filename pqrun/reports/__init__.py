# SPDX-License-Identifier: LGPL-3.0-or-later
"""One file a format: what a run tells other programs."""
