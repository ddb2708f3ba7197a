# SPDX-License-Identifier: LGPL-3.0-or-later
"""The journal of a run, and everything that is read from it later.

From outside, take a run's record from `run_record`, a past run's jobs from `index`, and the list of runs from
`run_list`.

  run_directory   creates, finds and locks a run's directory, and names the files in it
  run_record      keeps one process's part of the record, for a new or a resumed run
  format          encodes events as lines of JSON
  writer          appends events to the journal, with one write a turn
  reader          reads the lines whose checksums are correct
  projection      decodes the lines to events, and folds these into the rows of the job table: the one fold of the past
  ahead           looks at lines that are not folded yet, for the jobs that a reader wants to know of at once
  index           keeps the rows in SQLite, so that queries are fast
  stored_rows     turns rows and metrics into the values of the index, and back
  recovery        folds a journal to its end, so that the next process can continue
  restart_plan    decides which jobs of a recovered run run again
  compaction      removes jobs that ended long ago from a queue's journal
  run_list        lists the recorded runs and prunes old ones
  past            reads from the indexes of the latest runs how jobs went
  lock_wait       tells the user about a lock that another process holds
"""
