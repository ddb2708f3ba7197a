/* The shapes of the data in the page, for the checker of types. page_data.py writes them; see run_data.js. */

/**
 * @typedef {object} Head
 * @property {number} schema
 * @property {string} version
 * @property {{id: string, state: string, files: string[], workers: number | null, started_at: string,
 *   ended_at: string | null, input_complete: boolean, directory: string | null, guarded: boolean | null}} run
 * @property {{[name: string]: any}} metrics
 * @property {number} code
 * @property {boolean} live
 * @property {number} began seconds since the epoch
 * @property {number | null} now when the page of a live run was written, in seconds since the epoch
 * @property {string} host
 * @property {string | null} cwd
 * @property {string} command
 * @property {string} stopped
 * @property {string | null} resume
 * @property {string | null} resumeFailed
 * @property {string} address
 * @property {string | null} logs
 * @property {number} lanes
 * @property {number[]} dropped
 * @property {number} [fewJobs] in a file: up to this number of jobs, it has the output of successful jobs, too
 * @property {boolean} [paused] of a live page, as the next three
 * @property {boolean} [stopping]
 * @property {{[tag: string]: number}} [tagLimits] how many jobs with a tag may run at a time
 * @property {boolean} [readOnly] whether the server refuses changes
 * @property {number | null} [secondsLeft] the estimated seconds until the run ends
 * @property {{[state: string]: number} | null} [ahead] while some rows follow later: the number of jobs in each state
 */

/**
 * Numbers of a run at one moment. `queued`: the jobs in the queue by priority, from low to critical; `well` and
 * `badly`: how many attempts have ended so until then.
 * @typedef {{at: number, queued: number[], running: number, well: number, badly: number}} Sample
 */

/** @typedef {unknown[] | {all: unknown} | {values: unknown[], at: number[]}} Column */
/** @typedef {{kind: string, rows: number, columns: {[name: string]: Column}}} Chunk */

/**
 * The jobs in order of their numbers. Times in microseconds since the run began; NaN if there is none.
 * @typedef {object} Jobs
 * @property {Float64Array} seq
 * @property {string[]} id
 * @property {Float64Array} named
 * @property {string[]} command
 * @property {string[]} state
 * @property {Float64Array} allowed
 * @property {Float64Array} attempts
 * @property {Float64Array} max_attempts
 * @property {Float64Array} flaky
 * @property {Float64Array} priority
 * @property {Float64Array} queued
 * @property {Float64Array} started
 * @property {Float64Array} ended
 * @property {Float64Array} waited
 * @property {Float64Array} ran
 * @property {Float64Array} user
 * @property {Float64Array} system
 * @property {Float64Array} memory
 * @property {Float64Array} exit
 * @property {(string | null)[]} signal
 * @property {string[]} how
 * @property {string[]} message
 * @property {string[]} last
 * @property {Float64Array} out_bytes
 * @property {Float64Array} err_bytes
 * @property {(1 | string | null)[]} out_path
 * @property {(1 | string | null)[]} err_path
 * @property {string[][]} tags
 * @property {[string, string][][]} needs
 * @property {[string, string][][]} args names and values; an argument without a name has its place as a name
 * @property {Float64Array} args_left how many more the job has
 * @property {string[][]} variables
 * @property {(string | null)[]} cwd
 * @property {string[]} where
 * @property {(string | null)[]} file
 * @property {Float64Array} line
 * @property {Float64Array} timeout
 * @property {Float64Array} idle_timeout
 * @property {Float64Array} grace
 * @property {string[]} stop_signal
 * @property {string[]} retry
 */

/**
 * The attempts by job and number. `job`: the position of the job in `Jobs`.
 * @typedef {object} Attempts
 * @property {Int32Array} job
 * @property {Float64Array} attempt
 * @property {Float64Array} priority
 * @property {Float64Array} submitted
 * @property {Float64Array} waited
 * @property {Float64Array} began
 * @property {Float64Array} ended the end of the run for an attempt that has not ended
 * @property {Float64Array} lane
 * @property {string[]} counted
 * @property {string[]} how
 * @property {Float64Array} user
 * @property {Float64Array} system
 * @property {Float64Array} memory
 * @property {Float64Array} out_bytes
 * @property {Float64Array} err_bytes
 * @property {Float64Array} packed 1: stdout is in a file with other outputs; 2: stderr is
 * @property {string[]} last
 * @property {string[]} where
 */

/**
 * The waits for a retry. `attempt`: the one that came after the wait.
 * @typedef {object} Waits
 * @property {Int32Array} job
 * @property {Float64Array} attempt
 * @property {Float64Array} since
 * @property {Float64Array} until
 */

export {};
