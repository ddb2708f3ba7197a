/* The data of a live run: records from the server, of which later ones replace earlier ones, and output. */

import { KINDS, RunData } from "./run_data.js";

/** @typedef {import("./records.js").Head} Head */
/** @typedef {import("./records.js").Chunk} Chunk */
/** @typedef {{out: string, err: string, outCut: number, errCut: number}} KnownOutput */

const UNENDED = ["running", "waiting", "queued", "pending", "held"];
const MAX_TEXT = 256 * 1024,
  MAX_KNOWN = 40,
  FOLLOW_MS = 1000;

/** The newest record of each job, attempt and wait. */
export class LiveRecords {
  constructor() {
    /** @type {Map<string, {chunk: Chunk, places: Map<string, number>}>} */
    this._kinds = new Map();
  }

  clear() {
    this._kinds.clear();
  }

  /** Add records. @param {Chunk} chunk */
  add(chunk) {
    let kind = this._kinds.get(chunk.kind);
    if (!kind) {
      const empty = Object.fromEntries(Object.keys(chunk.columns).map((name) => [name, /** @type {unknown[]} */ ([])]));
      kind = { chunk: { kind: chunk.kind, rows: 0, columns: empty }, places: new Map() };
      this._kinds.set(chunk.kind, kind);
    }
    const columns = Object.entries(chunk.columns).map(([name, column]) => [name, valuesOf(column, chunk.rows)]);
    const values = /** @type {{[name: string]: unknown[]}} */ (Object.fromEntries(columns));
    for (let row = 0; row < chunk.rows; row++) {
      const key = chunk.kind === "jobs" ? `${values.seq[row]}` : `${values.seq[row]}-${values.attempt[row]}`;
      let place = kind.places.get(key);
      if (place === undefined) {
        place = kind.chunk.rows++;
        kind.places.set(key, place);
      }
      for (const name in values) /** @type {unknown[]} */ (kind.chunk.columns[name])[place] = values[name][row];
    }
  }

  /** Return all records, a chunk for each kind. */
  chunks() {
    return [...this._kinds.values()].map((kind) => kind.chunk);
  }
}

/** @param {{[state: string]: number}} counts */
function sum(counts) {
  return Object.values(counts).reduce((all, count) => all + count, 0);
}

/**
 * Return the values of a column as a list.
 * @param {import("./records.js").Column} column
 * @param {number} rows
 */
function valuesOf(column, rows) {
  if (Array.isArray(column)) return column;
  if ("all" in column) return new Array(rows).fill(column.all);
  return column.at.map((place) => column.values[place]);
}

/**
 * The data of a live run at one moment. Output comes from the server when it is asked for. While rows follow later, the
 * counts are those of the run itself.
 */
export class LiveData extends RunData {
  /**
   * @param {Head} head
   * @param {Chunk[]} chunks
   * @param {LiveOutputs} outputs
   * @param {import("./records.js").Sample[]} samples
   */
  constructor(head, chunks, outputs, samples) {
    super(head, chunks);
    this._outputs = outputs;
    this.samples = samples;
  }

  counts() {
    const { ahead } = this.head;
    return ahead ? new Map(KINDS.map((kind) => [kind, ahead[kind] ?? 0])) : super.counts();
  }

  jobCount() {
    return this.head.ahead ? sum(this.head.ahead) : super.jobCount();
  }

  attemptCount() {
    const { ahead, metrics } = this.head;
    return ahead ? metrics.jobs_dequeued - metrics.jobs_removed : super.attemptCount();
  }

  failureCount() {
    const { ahead } = this.head;
    return ahead ? Math.max(super.failureCount(), (ahead.failed ?? 0) + (ahead.timeout ?? 0)) : super.failureCount();
  }

  followCount() {
    const { ahead } = this.head;
    if (!ahead) return 0;
    const ended = sum(ahead) - UNENDED.reduce((left, state) => left + (ahead[state] ?? 0), 0);
    const shown = this.jobs.state.reduce((count, state) => count + Number(!UNENDED.includes(state)), 0);
    return Math.max(0, sum(ahead) - this.count, ended - shown);
  }

  /**
   * Return the end of the output of an attempt, as far as it is known; what is missing is asked for.
   * @param {number} job
   * @param {number} attempt
   * @returns {KnownOutput | null}
   */
  output(job, attempt) {
    const mayHave = this.isRunning(job, attempt) || this.hasPrinted(job, attempt);
    return this._outputs.get(this.jobs.seq[job], attempt, mayHave);
  }

  /**
   * Return how many bytes an attempt wrote to a stream, as far as that is known.
   * @param {number} job
   * @param {number} attempt
   * @param {"out" | "err"} stream
   */
  size(job, attempt, stream) {
    return Math.max(super.size(job, attempt, stream), this._outputs.size(this.jobs.seq[job], attempt, stream));
  }

  /** @param {number} job @param {number} attempt */
  isRunning(job, attempt) {
    return this.jobs.state[job] === "running" && this.jobs.attempts[job] === attempt;
  }

  /** @param {number} job @param {number} attempt */
  hasPrinted(job, attempt) {
    return super.size(job, attempt, "out") + super.size(job, attempt, "err") > 0;
  }
}

/**
 * @typedef {object} Known
 * @property {{[stream: string]: {text: string, start: number, next: number | null, over: boolean}}} streams
 * @property {boolean} isLoading
 * @property {number} at when it was asked for
 */

/** The output that the page knows. The attempt in the pane is followed while it runs. */
export class LiveOutputs {
  /**
   * @param {string} address
   * @param {(seq: number, attempt: number) => void} changed
   */
  constructor(address, changed) {
    this._address = address;
    this._changed = changed;
    /** @type {Map<string, Known>} */
    this._known = new Map();
    this._followed = "";
    setInterval(() => this._followOn(), FOLLOW_MS);
  }

  /**
   * Return what is known, and ask for it if it is not complete.
   * @param {number} seq
   * @param {number} attempt
   * @param {boolean} mayHave whether there may be output at all
   * @returns {KnownOutput | null}
   */
  get(seq, attempt, mayHave) {
    const key = `${seq}-${attempt}`;
    const known = this._known.get(key);
    if (mayHave && (!known || (!isOver(known) && Date.now() - known.at > FOLLOW_MS))) this._load(key);
    if (!known) return null;
    const { out, err } = known.streams;
    return { out: out.text, err: err.text, outCut: out.start, errCut: err.start };
  }

  /** @param {number} seq @param {number} attempt @param {"out" | "err"} stream */
  size(seq, attempt, stream) {
    return this._known.get(`${seq}-${attempt}`)?.streams[stream].next ?? 0;
  }

  /** Follow an attempt, in place of another. @param {number} seq @param {number} attempt 0: none */
  follow(seq, attempt) {
    this._followed = attempt ? `${seq}-${attempt}` : "";
  }

  _followOn() {
    const known = this._known.get(this._followed);
    if (this._followed && !document.hidden && (!known || !isOver(known))) this._load(this._followed);
  }

  /** @param {string} key */
  async _load(key) {
    let known = this._known.get(key);
    if (!known) {
      const empty = () => ({ text: "", start: 0, next: null, over: false });
      known = { streams: { out: empty(), err: empty() }, isLoading: false, at: 0 };
      this._known.set(key, known);
      for (const old of this._known.keys()) {
        if (this._known.size <= MAX_KNOWN) break;
        if (old !== this._followed && old !== key) this._known.delete(old);
      }
    }
    if (known.isLoading) return;
    known.isLoading = true;
    known.at = Date.now();
    const [seq, attempt] = key.split("-").map(Number);
    try {
      const { out, err } = known.streams;
      await Promise.all([this._read(seq, attempt, out, 1), this._read(seq, attempt, err, 2)]);
      known.at = Date.now();
      this._changed(seq, attempt);
    } catch {
      /* the server is gone: the page says so above, and asks again when it is back */
    } finally {
      known.isLoading = false;
    }
  }

  /**
   * @param {number} seq
   * @param {number} attempt
   * @param {{text: string, start: number, next: number | null, over: boolean}} part
   * @param {number} stream
   */
  async _read(seq, attempt, part, stream) {
    if (part.over) return;
    const offset = part.next === null ? "" : `&offset=${part.next}`;
    const answer = await fetch(`${this._address}/output?seq=${seq}&attempt=${attempt}&stream=${stream}${offset}`);
    if (!answer.ok) throw new Error("no output");
    const piece = await answer.json();
    if (part.next === null) part.start = piece.start;
    part.text += piece.text;
    part.next = piece.next;
    part.over = piece.over;
    if (part.text.length > MAX_TEXT) {
      const cut = part.text.length - MAX_TEXT;
      part.text = part.text.slice(cut);
      part.start += cut;
    }
  }
}

/** @param {Known} known */
function isOver(known) {
  return known.streams.out.over && known.streams.err.over;
}
