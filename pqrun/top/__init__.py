# SPDX-License-Identifier: LGPL-3.0-or-later
"""`top`: a run on a full screen, to look at, to search and to act on."""
