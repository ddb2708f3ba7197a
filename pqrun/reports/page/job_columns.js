/* The columns of the table of jobs, and the same as a CSV file. */

import { h, icon } from "./dom.js";
import { bytes, duration, percent } from "./format.js";
import { PRIORITIES } from "./run_data.js";

/** @typedef {import("./run_data.js").RunData} RunData */

/**
 * @typedef {object} TableColumn
 * @property {string} key
 * @property {string} title
 * @property {number} min the least width in pixels
 * @property {number} [grow] its share of the room that is left
 * @property {boolean} [right]
 * @property {(job: number) => string | number} sort NaN and empty texts come last
 * @property {(job: number) => (Node | string | number)[]} cell
 * @property {(job: number) => string | number} [exact] the value in the CSV file, if it is not that of `sort`
 * @property {(job: number) => boolean} [usual] whether the value needs no attention
 * @property {boolean} [hidden]
 */

const ORDER = ["state", "seq", "name", "priority", "tries", "waited", "ran", "cpu", "memory", "how", "last"];
const MAX_ARGUMENTS = 8; // columns for arguments
const MIN_CPU_MICROS = 20_000; // below this a share says nothing
/** Return the time without an unknown one. @param {number} value */
const seconds = (value) => (Number.isNaN(value) ? NaN : value / 1e6);

/**
 * Return the columns of the table.
 * @param {RunData} data
 * @returns {TableColumn[]}
 */
export function columnsOf(data) {
  const { jobs } = data;
  const longest = jobs.ran.reduce((most, ran) => (ran > most ? ran : most), 1);
  /** @type {TableColumn[]} */
  const found = [
    {
      key: "state",
      title: "State",
      min: 104,
      sort: (job) => data.kind[job] + (jobs.allowed[job] && data.kind[job] < 2 ? 1.5 : 0),
      cell: (job) => [
        h(
          "span",
          { class: "state" },
          icon(data.kindOf(job)),
          data.kindOf(job) === "flaky" ? "ok, flaky" : jobs.state[job],
        ),
      ],
      exact: (job) => jobs.state[job],
    },
    {
      key: "seq",
      title: "#",
      min: 64,
      right: true,
      sort: (job) => jobs.seq[job],
      cell: (job) => [jobs.seq[job]],
      usual: () => true,
    },
    {
      key: "name",
      title: "Job",
      min: 210,
      grow: 1.4,
      sort: (job) => data.name(job),
      cell: (job) => [data.name(job)],
      exact: (job) => jobs.id[job],
    },
    {
      key: "priority",
      title: "Priority",
      min: 76,
      sort: (job) => -jobs.priority[job],
      cell: (job) => [PRIORITIES[jobs.priority[job]]],
      exact: (job) => PRIORITIES[jobs.priority[job]],
      usual: (job) => jobs.priority[job] < 2,
    },
    {
      key: "tries",
      title: "Tries",
      min: 60,
      right: true,
      sort: (job) => jobs.attempts[job],
      cell: (job) => [jobs.attempts[job] ? `${jobs.attempts[job]}/${jobs.max_attempts[job]}` : ""],
      usual: (job) => jobs.attempts[job] < 2,
    },
    {
      key: "waited",
      title: "Waited",
      min: 82,
      right: true,
      sort: (job) => jobs.waited[job],
      cell: (job) => [duration(jobs.waited[job])],
      usual: () => true,
      exact: (job) => seconds(jobs.waited[job]),
    },
    {
      key: "ran",
      title: "Ran",
      min: 132,
      right: true,
      sort: (job) => jobs.ran[job],
      exact: (job) => seconds(jobs.ran[job]),
      cell: (job) => {
        const bar = h("span", { class: "bar" });
        bar.style.width = `${(60 * (jobs.ran[job] || 0)) / longest}px`;
        return [bar, duration(jobs.ran[job])];
      },
    },
    {
      key: "cpu",
      title: "CPU",
      min: 62,
      right: true,
      sort: (job) => (jobs.user[job] + jobs.system[job]) / jobs.ran[job],
      cell: (job) => [
        jobs.user[job] + jobs.system[job] && jobs.ran[job] > MIN_CPU_MICROS
          ? percent((jobs.user[job] + jobs.system[job]) / jobs.ran[job])
          : "",
      ],
      usual: () => true,
      exact: (job) => seconds(jobs.user[job] + jobs.system[job]),
    },
    {
      key: "memory",
      title: "Memory",
      min: 74,
      right: true,
      sort: (job) => jobs.memory[job],
      cell: (job) => [bytes(jobs.memory[job])],
      usual: () => true,
    },
    {
      key: "how",
      title: "How",
      min: 122,
      sort: (job) => data.how(job),
      cell: (job) => [data.how(job)],
      exact: (job) => jobs.how[job],
    },
  ];
  const place = found.findIndex((one) => one.key === "priority");
  found.splice(place, 0, ...argumentColumns(data));
  found.push(
    {
      key: "last",
      title: "Last output",
      min: 160,
      grow: 2,
      sort: (job) => data.lastOutput(job),
      cell: (job) => [h("span", { class: "mono" }, data.lastOutput(job))],
      usual: () => true,
    },
    {
      key: "tags",
      title: "Tags",
      min: 110,
      hidden: true,
      sort: (job) => jobs.tags[job].join(" "),
      cell: (job) => [jobs.tags[job].join(" ")],
    },
    {
      key: "host",
      title: "Host",
      min: 110,
      hidden: true,
      sort: (job) => jobs.where[job],
      cell: (job) => [jobs.where[job]],
    },
    {
      key: "command",
      title: "Command",
      min: 160,
      grow: 1,
      hidden: true,
      sort: (job) => jobs.command[job],
      cell: (job) => [h("span", { class: "mono" }, jobs.command[job].slice(0, 300))],
      exact: (job) => jobs.command[job],
    },
    {
      key: "exit",
      title: "Exit",
      min: 56,
      right: true,
      hidden: true,
      sort: (job) => jobs.exit[job],
      cell: (job) => [Number.isNaN(jobs.exit[job]) ? "" : jobs.exit[job]],
    },
  );
  return found;
}

/**
 * Return a column for each name of an argument or of a matrix value, up to a number of columns. The pane of a job has
 * the others.
 * @param {RunData} data
 * @returns {TableColumn[]}
 */
function argumentColumns(data) {
  const { args } = data.jobs;
  /** @type {Map<string, number>} the number of jobs with each name */
  const names = new Map();
  for (const pairs of args) {
    for (const [name] of pairs) {
      const count = names.get(name) ?? 0;
      if (count || names.size < MAX_ARGUMENTS) names.set(name, count + 1);
    }
  }
  return [...names].map(([name, count]) => {
    const value = (/** @type {number} */ job) => args[job].find(([other]) => other === name)?.[1] ?? "";
    const isPlace = /^[0-9]+$/.test(name);
    return {
      key: `argument-${name}`,
      title: !isPlace ? name : names.size > 1 ? `Argument ${name}` : "Argument",
      min: isPlace ? 100 : 64,
      grow: 0.3,
      sort: (job) => {
        const text = value(job);
        return text.trim() !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
      },
      cell: (job) => [value(job).slice(0, 300)],
      exact: value,
      hidden: count * 2 < data.count,
    };
  });
}

/**
 * Return jobs as a CSV file, with exact values.
 * @param {TableColumn[]} all
 * @param {Int32Array} jobs
 */
export function asCsv(all, jobs) {
  const place = (/** @type {TableColumn} */ { key }) => (ORDER.includes(key) ? ORDER.indexOf(key) : ORDER.length);
  const columns = [...all].sort((one, other) => place(one) - place(other));
  const field = (/** @type {string | number} */ value) => {
    const text = typeof value === "number" && Number.isNaN(value) ? "" : String(value);
    // A spreadsheet takes a text that begins so as a formula.
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
  };
  const lines = [columns.map((column) => field(column.key)).join(",")];
  for (const job of jobs) lines.push(columns.map((column) => field((column.exact ?? column.sort)(job))).join(","));
  return `${lines.join("\n")}\n`;
}

/**
 * Return the two lines of a row on a narrow screen.
 * @param {RunData} data
 * @param {number} job
 */
export function narrowCells(data, job) {
  const how = data.how(job) || (data.kindOf(job) === "ok" ? "" : data.kindOf(job));
  const cells = [
    h("div", { role: "gridcell" }, icon(data.kindOf(job)), h("span", { class: "hidden" }, data.kindOf(job))),
    h("div", { role: "gridcell" }, data.name(job)),
    h("div", { role: "gridcell" }, how),
    h("div", { role: "gridcell", class: "usual" }, duration(data.jobs.ran[job])),
    h("div", { role: "gridcell", class: "usual mono" }, data.lastOutput(job)),
  ];
  cells[4].style.gridColumn = "2 / -1";
  return cells;
}

/**
 * Sort jobs by the keys of a column. Empty keys come last.
 * @param {Int32Array} found
 * @param {(string | number)[]} keys by job
 * @param {boolean} down
 */
export function sortByKeys(found, keys, down) {
  const sign = down ? -1 : 1;
  const isLast = (/** @type {string | number} */ key) => key === "" || (typeof key === "number" && Number.isNaN(key));
  found.sort((one, other) => {
    const a = keys[one],
      b = keys[other];
    if (a === b) return one - other;
    if (isLast(a) || isLast(b)) return Number(isLast(a)) - Number(isLast(b)) || one - other;
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * (String(a) < String(b) ? -1 : 1);
  });
}
