# SPDX-License-Identifier: LGPL-3.0-or-later
"""What jobs print: kept, cut into lines, and written to stdout and stderr.

store        output in memory, then in a file
writer       descriptors 1 and 2, broken pipes
printer      grouped, by line, in order
lines        cut at line ends, tagged, made safe for a screen
ci_markers   folds of GitHub and GitLab
"""
