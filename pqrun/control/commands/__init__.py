# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the verbs of the control socket do.

add    put jobs in
ps     list unfinished jobs, and why they wait
wait   answer when jobs have ended or there is room
"""
