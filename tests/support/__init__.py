# SPDX-License-Identifier: LGPL-3.0-or-later
"""Code that several folders of tests share."""
