# SPDX-License-Identifier: LGPL-3.0-or-later
"""One command for many arguments: templates with placeholders, and where their values come from."""
