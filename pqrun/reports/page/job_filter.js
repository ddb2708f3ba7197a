/* The language of the filter: `state:failed priority:low text -tag:slow ran>10s DB=mysql`. */

import { PRIORITIES } from "./run_data.js";

/** @typedef {import("./run_data.js").RunData} RunData */
/** @typedef {(job: number) => boolean} Test */

const TERM = /(-?)(?:([A-Za-z_][\w.-]*)(:|=|>=|<=|>|<))?("[^"]*"?|\S+)/g;
const UNITS = { ms: 1e3, s: 1e6, m: 6e7, h: 3.6e9, d: 8.64e10, B: 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/**
 * Return the number that a text stands for: `10s` in microseconds, `2G` in bytes; NaN if it is none.
 * @param {string} text
 */
export function amount(text) {
  const found = /^(-?\d+(?:\.\d+)?)(ms|[smhdBKMG])?$/.exec(text);
  if (!found) return NaN;
  const unit = found[2];
  return Number(found[1]) * (unit ? /** @type {{[unit: string]: number}} */ (UNITS)[unit] : 1);
}

/**
 * Return a test for a number against a text such as `10s`.
 * @param {string} operator
 * @param {string} text
 * @param {number} unit what a number without a unit is multiplied by
 * @returns {((value: number) => boolean) | null}
 */
function comparison(operator, text, unit) {
  const bare = /^-?\d+(\.\d+)?$/.test(text);
  const limit = amount(text) * (bare ? unit : 1);
  if (Number.isNaN(limit)) return null;
  switch (operator) {
    case ">":
      return (value) => value > limit;
    case "<":
      return (value) => value < limit;
    case ">=":
      return (value) => value >= limit;
    case "<=":
      return (value) => value <= limit;
    default:
      return (value) => value === limit;
  }
}

/** What can be compared: the numbers, and the unit of a number without one. */
const NUMBERS = {
  seq: 1,
  attempts: 1,
  tries: 1,
  exit: 1,
  ran: 1e6,
  time: 1e6,
  waited: 1e6,
  cpu: 1e6,
  memory: 1,
  line: 1,
};

export class JobFilter {
  /** @param {RunData} data */
  constructor(data) {
    this._data = data;
    /** @type {(string | undefined)[]} */
    this._texts = [];
    const names = new Set();
    for (const pairs of data.jobs.args) for (const pair of pairs) names.add(pair[0]);
    /** The names of arguments and matrix values, in lower case. */
    this._names = new Set([...names].map((name) => name.toLowerCase()));
    this.problem = "";
  }

  /**
   * Return the jobs that match, in order. `problem` then says what was not understood.
   * @param {string} query
   */
  matches(query) {
    this.problem = "";
    /** @type {Test[]} */
    const tests = [];
    for (const [, no, name, operator, quoted] of query.matchAll(TERM)) {
      const text = quoted.replace(/^"|"$/g, "");
      const test = name === undefined ? this._contains(text) : this._test(name, operator, text);
      if (test) tests.push(no ? (job) => !test(job) : test);
    }
    const found = new Int32Array(this._data.count);
    let count = 0;
    for (let job = 0; job < found.length; job++) {
      if (tests.every((test) => test(job))) found[count++] = job;
    }
    return found.subarray(0, count);
  }

  /** @param {string} text @returns {Test} */
  _contains(text) {
    const wanted = text.toLowerCase();
    return (job) => this._text(job).includes(wanted);
  }

  /** @param {number} job */
  _text(job) {
    const { jobs } = this._data;
    let found = this._texts[job];
    if (found === undefined) {
      found = `${jobs.id[job]}\n${jobs.command[job]}\n${jobs.how[job]}\n${jobs.message[job]}\n${jobs.last[job]}`;
      for (const pair of jobs.args[job]) found += `\n${pair[1]}`;
      found = this._texts[job] = found.toLowerCase();
    }
    return found;
  }

  /**
   * @param {string} name
   * @param {string} operator
   * @param {string} text
   * @returns {Test | null}
   */
  _test(name, operator, text) {
    const { jobs } = this._data;
    const key = name.toLowerCase();
    const wanted = text.toLowerCase();
    if (key in NUMBERS) return this._number(key, operator, text);
    switch (operator === ":" || operator === "=" ? key : "") {
      case "state":
        return (job) => jobs.state[job].startsWith(wanted);
      case "is":
        return (job) => this._data.kindOf(job).startsWith(wanted) || (wanted === "allowed" && jobs.allowed[job] === 1);
      case "priority":
        return (job) => PRIORITIES[jobs.priority[job]].startsWith(wanted);
      case "tag":
        return (job) => jobs.tags[job].some((tag) => tag.toLowerCase() === wanted);
      case "id":
        return (job) => jobs.id[job].toLowerCase().includes(wanted);
      case "group":
        return (job) => groupOf(jobs.id[job]).toLowerCase() === wanted;
      case "signal":
        return (job) => (jobs.signal[job] ?? "").toLowerCase().endsWith(wanted);
      case "how":
        return (job) => jobs.how[job].toLowerCase().includes(wanted);
      case "host":
        return (job) => jobs.where[job].toLowerCase().includes(wanted);
      case "needs":
        return (job) => jobs.needs[job].some(([id]) => id.toLowerCase() === wanted);
    }
    if (this._names.has(key)) {
      const compare = comparison(operator, text, 1);
      return (job) =>
        jobs.args[job].some(
          ([other, value]) =>
            other.toLowerCase() === key &&
            (operator === ":" || operator === "="
              ? value.toLowerCase() === wanted
              : compare !== null && compare(Number(value))),
        );
    }
    return this._contains(`${name}${operator}${text}`);
  }

  /**
   * @param {string} key
   * @param {string} operator
   * @param {string} text
   * @returns {Test | null}
   */
  _number(key, operator, text) {
    const { jobs } = this._data;
    const compare = comparison(operator, text, /** @type {{[key: string]: number}} */ (NUMBERS)[key]);
    if (!compare) {
      this.problem = `${key}${operator} needs a number, such as ${key}>10`;
      return null;
    }
    switch (key) {
      case "attempts":
      case "tries":
        return (job) => compare(jobs.attempts[job]);
      case "ran":
      case "time":
        return (job) => compare(jobs.ran[job]);
      case "waited":
        return (job) => compare(jobs.waited[job]);
      case "cpu":
        return (job) => compare(jobs.user[job] + jobs.system[job]);
      case "memory":
        return (job) => compare(jobs.memory[job]);
      case "exit":
        return (job) => compare(jobs.exit[job]);
      case "line":
        return (job) => compare(jobs.line[job]);
      default:
        return (job) => compare(jobs.seq[job]);
    }
  }
}

/** Return the part of an id that the jobs of one matrix share. @param {string} id */
export function groupOf(id) {
  return id.endsWith("]") && id.includes("[", 1) ? id.slice(0, id.indexOf("[", 1)) : id;
}
