# SPDX-License-Identifier: LGPL-3.0-or-later
"""What people see: job output, plain log, live table, last page."""
