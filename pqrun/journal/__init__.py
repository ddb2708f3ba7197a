# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is kept of a run, and what is read out of it again.

run_directory   the directory, its lock, its files
run_record      one process's part of the record: a new run's or a resumed one's
format          events as lines of JSON, and back
writer          append events, one write a turn        reader         lines with right checksums
projection      journal lines to rows                  index          the SQLite index
recovery        what became of a run so far            restart_plan   what is left to do
compaction      a queue's journal made short           run_list       recorded runs, and pruning
lock_wait       messages while another process holds the lock
"""
