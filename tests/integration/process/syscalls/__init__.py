# SPDX-License-Identifier: LGPL-3.0-or-later
"""Makes system calls of pqrun fail, one at a time, and looks at what follows."""
