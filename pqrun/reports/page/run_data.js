/* The data of a run: records in columns, read from the chunks that the report wrote. See page_data.py. */

/** @typedef {import("./records.js").Head} Head */
/** @typedef {import("./records.js").Chunk} Chunk */
/** @typedef {import("./records.js").Jobs} Jobs */
/** @typedef {import("./records.js").Attempts} Attempts */
/** @typedef {import("./records.js").Waits} Waits */

import { quoted } from "./format.js";

export const PRIORITIES = ["low", "normal", "high", "critical"];

/** The kinds of jobs in the order of the table: what went wrong first. A flaky job is a kind of its own. */
export const KINDS = [
  "failed",
  "timeout",
  "interrupted",
  "cancelled",
  "skipped",
  "flaky",
  "running",
  "waiting",
  "queued",
  "pending",
  "held",
  "ok",
];

const TEXTS = {
  jobs: new Set([
    "id",
    "command",
    "state",
    "signal",
    "how",
    "message",
    "last",
    "out_path",
    "err_path",
    "tags",
    "needs",
    "args",
    "variables",
    "cwd",
    "where",
    "file",
    "stop_signal",
    "retry",
  ]),
  attempts: new Set(["counted", "how", "last", "where"]),
  waits: new Set(/** @type {string[]} */ ([])),
};

/**
 * Return a column of all chunks in the given order.
 * @param {Chunk[]} chunks
 * @param {string} name
 * @param {Int32Array} order the positions of the records, counted over all chunks
 * @param {boolean} isText
 */
function gathered(chunks, name, order, isText) {
  // Loops over arrays of known length: a run may have a million records of forty columns.
  const all = new Array(chunks.reduce((sum, one) => sum + one.rows, 0));
  let filled = 0;
  for (const { columns, rows } of chunks) {
    const column = columns[name];
    if (Array.isArray(column)) for (let row = 0; row < rows; row++) all[filled + row] = column[row];
    else if ("all" in column) all.fill(column.all, filled, filled + rows);
    else for (let row = 0; row < rows; row++) all[filled + row] = column.values[column.at[row]];
    filled += rows;
  }
  const found = isText ? new Array(order.length) : new Float64Array(order.length);
  for (let place = 0; place < order.length; place++) {
    const value = all[order[place]];
    found[place] = value === null && !isText ? NaN : value;
  }
  return found;
}

/**
 * Return records of one kind as columns in the given order.
 * @param {"jobs" | "attempts" | "waits"} kind
 * @param {Chunk[]} chunks
 * @param {Int32Array} order
 * @param {string[]} names
 */
function recordColumns(kind, chunks, order, names) {
  return Object.fromEntries(names.map((name) => [name, gathered(chunks, name, order, TEXTS[kind].has(name))]));
}

/** Return the position of each number up to the highest, the last one of equal numbers. @param {Float64Array} seqs */
function positions(seqs) {
  let highest = 0;
  for (const seq of seqs) highest = Math.max(highest, seq);
  const found = new Int32Array(highest + 1).fill(-1);
  seqs.forEach((seq, place) => {
    found[seq] = place;
  });
  return found;
}

/** @param {number} count */
function upTo(count) {
  return Int32Array.from({ length: count }, (_, place) => place);
}

const JOB_NAMES = [
  "seq",
  "id",
  "named",
  "command",
  "state",
  "allowed",
  "attempts",
  "max_attempts",
  "flaky",
  "priority",
  "queued",
  "started",
  "ended",
  "waited",
  "ran",
  "user",
  "system",
  "memory",
  "exit",
  "signal",
  "how",
  "message",
  "last",
  "out_bytes",
  "err_bytes",
  "out_path",
  "err_path",
  "tags",
  "needs",
  "args",
  "args_left",
  "variables",
  "cwd",
  "where",
  "file",
  "line",
  "timeout",
  "idle_timeout",
  "grace",
  "stop_signal",
  "retry",
];
const ATTEMPT_NAMES = [
  "attempt",
  "priority",
  "submitted",
  "waited",
  "began",
  "ended",
  "lane",
  "counted",
  "how",
  "user",
  "system",
  "memory",
  "out_bytes",
  "err_bytes",
  "packed",
  "last",
  "where",
];

export class RunData {
  /**
   * @param {Head} head
   * @param {Chunk[]} chunks
   */
  constructor(head, chunks) {
    this.head = head;
    /** @type {import("./records.js").Sample[]} the numbers of a live run whose rows are not complete */
    this.samples = [];
    const of = (/** @type {string} */ kind) => chunks.filter((one) => one.kind === kind);
    const counted = (/** @type {Chunk[]} */ some) => some.reduce((sum, one) => sum + one.rows, 0);

    const jobs = of("jobs");
    const seqs = /** @type {Float64Array} */ (gathered(jobs, "seq", upTo(counted(jobs)), false));
    const place = positions(seqs);
    for (const seq of head.dropped) place[seq] = -1;
    const order = place.filter((found) => found >= 0);
    /** @type {Jobs} */
    this.jobs = /** @type {any} */ (recordColumns("jobs", jobs, order, JOB_NAMES));
    this.count = order.length;
    /** @type {Map<string, number>} */
    this.byId = new Map();
    this.jobs.id.forEach((id, job) => this.byId.set(id, job));
    this._jobOf = positions(this.jobs.seq);

    const attempts = of("attempts");
    const jobOf = this._jobsOf(attempts, counted(attempts));
    const number = gathered(attempts, "attempt", upTo(jobOf.length), false);
    const byJob = upTo(jobOf.length)
      .filter((one) => jobOf[one] >= 0)
      .sort((one, other) => jobOf[one] - jobOf[other] || Number(number[one]) - Number(number[other]));
    /** @type {Attempts} */
    this.attempts = /** @type {any} */ (recordColumns("attempts", attempts, byJob, ATTEMPT_NAMES));
    this.attempts.job = byJob.map((one) => jobOf[one]);
    this.first = new Int32Array(this.count + 1);
    for (const job of this.attempts.job) this.first[job + 1] += 1;
    for (let job = 0; job < this.count; job++) this.first[job + 1] += this.first[job];

    const waits = of("waits");
    const waiting = this._jobsOf(waits, counted(waits));
    const some = upTo(waiting.length).filter((one) => waiting[one] >= 0);
    /** @type {Waits} */
    this.waits = /** @type {any} */ (recordColumns("waits", waits, some, ["attempt", "since", "until"]));
    this.waits.job = some.map((one) => waiting[one]);

    this.end = this._end();
    this.attempts.ended = this.attempts.ended.map((ended) => (Number.isNaN(ended) ? this.end : ended));
    /** The kind of each job, as its place in `KINDS`. */
    this.kind = Uint8Array.from(this.jobs.state, (state, job) => KINDS.indexOf(this.jobs.flaky[job] ? "flaky" : state));
  }

  /**
   * Return the position of the job of each record.
   * @param {Chunk[]} chunks
   * @param {number} count
   */
  _jobsOf(chunks, count) {
    const seqs = /** @type {Float64Array} */ (gathered(chunks, "seq", upTo(count), false));
    return Int32Array.from(seqs, (seq) => this._jobOf[seq] ?? -1);
  }

  _end() {
    const { ended_at: text } = this.head.run;
    let end = text
      ? (Date.parse(text) - this.head.began * 1000) * 1000
      : this.head.now === null
        ? 0
        : (this.head.now - this.head.began) * 1e6;
    for (const column of [this.attempts.ended, this.attempts.began, this.jobs.ended]) {
      for (const at of column) if (at > end) end = at;
    }
    return Math.max(end, 1);
  }

  /** Return a time as milliseconds since the epoch. @param {number} micros */
  wall(micros) {
    return this.head.began * 1000 + micros / 1000;
  }

  /** Return the name of a job: its id, or its command if the user gave no id. @param {number} job */
  name(job) {
    const { named, id, command } = this.jobs;
    return named[job] ? id[job] : command[job].slice(0, 300).split(/\s+/).join(" ").trim() || id[job];
  }

  /** Return the kind of a job as a word. @param {number} job */
  kindOf(job) {
    return KINDS[this.kind[job]];
  }

  /** Return how a job ended in a few words, empty for a success. @param {number} job */
  how(job) {
    const how = this.jobs.how[job];
    return how === "exit 0" ? "" : how;
  }

  /** Return the last output of a job, or why it does not run. @param {number} job */
  lastOutput(job) {
    return this.jobs.last[job] || this.jobs.message[job];
  }

  /**
   * Return the file with a stream of an attempt, the command that prints it, or an empty text.
   * @param {number} job
   * @param {number} attempt
   * @param {"out" | "err"} stream
   */
  place(job, attempt, stream) {
    if (this._isPacked(job, attempt, stream)) {
      const word = stream === "err" ? " --stderr" : "";
      return `pqrun logs ${quoted(this.head.address)} ${quoted(this.jobs.id[job])} --attempt ${attempt}${word}`;
    }
    const isLast = attempt === this.jobs.attempts[job];
    const path = stream === "out" ? this.jobs.out_path[job] : this.jobs.err_path[job];
    if (isLast && typeof path === "string") return path;
    if (!this.head.logs || (isLast && path !== 1)) return "";
    const seq = this.jobs.seq[job];
    return `${this.head.logs}/${String(Math.floor(seq / 500)).padStart(4, "0")}/${seq}.${attempt}.${stream}`;
  }

  /**
   * Return whether a stream of an attempt is in a file with outputs of other attempts.
   * @param {number} job
   * @param {number} attempt
   * @param {"out" | "err"} stream
   */
  _isPacked(job, attempt, stream) {
    for (let one = this.first[job]; one < this.first[job + 1]; one++) {
      if (this.attempts.attempt[one] === attempt)
        return (this.attempts.packed[one] & (stream === "out" ? 1 : 2)) > 0;
    }
    return false;
  }

  /**
   * Return the end of the output of an attempt, or null if it is not in the page.
   * @param {number} job
   * @param {number} attempt
   * @returns {{out: string, err: string, outCut: number, errCut: number} | null}
   */
  output(job, attempt) {
    const found = document.getElementById(`output-${this.jobs.seq[job]}-${attempt}`);
    return found && JSON.parse(found.textContent ?? "null");
  }

  /**
   * Return how many bytes an attempt wrote to a stream.
   * @param {number} job
   * @param {number} attempt
   * @param {"out" | "err"} stream
   */
  size(job, attempt, stream) {
    const { attempts, first } = this;
    for (let one = first[job]; one < first[job + 1]; one++) {
      if (attempts.attempt[one] === attempt) return attempts[stream === "out" ? "out_bytes" : "err_bytes"][one];
    }
    return 0;
  }

  /** Return the position of a job by its number, -1 if there is none. @param {number} seq */
  jobOf(seq) {
    return this._jobOf[seq] ?? -1;
  }

  /** Return how many jobs there are of each kind. */
  counts() {
    const found = new Map(KINDS.map((kind) => [kind, 0]));
    for (const kind of this.kind) found.set(KINDS[kind], (found.get(KINDS[kind]) ?? 0) + 1);
    return found;
  }

  /** Return how many jobs the run has. */
  jobCount() {
    return this.count;
  }

  /** Return how many attempts the run has. */
  attemptCount() {
    return this.attempts.job.length;
  }

  /** Return how many jobs failed. */
  failureCount() {
    return this.failures().length;
  }

  /** Return how many rows are missing or old, and follow later. */
  followCount() {
    return 0;
  }

  /** Return the jobs that failed: the first to fail first, those that may fail last. */
  failures() {
    const { ended, allowed } = this.jobs;
    /** @type {number[]} */
    const found = [];
    this.kind.forEach((kind, job) => {
      if (kind <= KINDS.indexOf("interrupted")) found.push(job);
    });
    return found.sort((one, other) => allowed[one] - allowed[other] || ended[one] - ended[other] || one - other);
  }
}

/** Read the data in the page. */
export function readData() {
  const head = JSON.parse(document.getElementById("head")?.textContent ?? "{}");
  const elements = [...document.querySelectorAll("script.chunk")];
  const data = new RunData(
    head,
    elements.map((one) => JSON.parse(one.textContent ?? "{}")),
  );
  for (const one of elements) one.remove(); // the records are in columns now, so the text only takes memory
  return data;
}
