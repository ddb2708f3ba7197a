# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs to talk to: simulated ones in this process, and real ones in processes of their own."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "pure"))  # its checks of whole stories
