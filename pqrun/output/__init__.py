# SPDX-License-Identifier: LGPL-3.0-or-later
"""The output of jobs: captured, cut into lines, and written to stdout and stderr.

From outside: `Logs` and `Capture` store output, `OutputPrinter` prints it, and `StreamWriter` writes to one stream.

store        keep output in memory, or in a file once it is large
pack         keep small outputs of ended attempts together in files
writer       write to stdout or stderr, in lines that are tagged and safe; handle closed pipes and full disks
printer      print output grouped or by line, as jobs end or in their order
ci_markers   fold output in the logs of GitHub and GitLab
"""
