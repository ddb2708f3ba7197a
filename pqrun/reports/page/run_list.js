/* The list of runs of the live page: those that live first, then the others. */

import { byId, h, icon, refill, sectionTitle } from "./dom.js";
import { dateAndTime, duration } from "./format.js";

/**
 * @typedef {object} ListedRun
 * @property {string} id
 * @property {number} prefix how many letters of the id are enough
 * @property {string} state live, ended, stopped, died or damaged
 * @property {number} began in seconds since the epoch
 * @property {number | null} ended
 * @property {string} source
 * @property {number} jobs
 * @property {{[outcome: string]: number}} outcomes
 * @property {number} failed
 * @property {number} left
 * @property {number | null} workers
 * @property {string} trouble
 * @property {string} address
 */

const RUN_AREAS = { failed: "failed-area", timeout: "timeout-area", ok: "ok-area" };
const OUTCOMES = ["failed", "timeout", "cancelled", "skipped", "interrupted", "ok"];

/**
 * Return the icon and the word for how a run is.
 * @param {ListedRun} run
 * @returns {[string, string]}
 */
function stateOf(run) {
  if (run.state === "live") return ["running", "running"];
  if (run.state === "ended") return run.failed ? ["failed", "failed"] : ["ok", "ok"];
  return [run.state === "stopped" ? "stopped" : "interrupted", run.state];
}

/**
 * Fill the list.
 * @param {{runs: ListedRun[], count: number}} told
 */
export function fillRuns(told) {
  const section = byId("headline");
  const left = section.querySelector(".scroll")?.scrollLeft ?? 0;
  refill(section, () => {
    const live = told.runs.filter((run) => run.state === "live");
    const past = told.runs.filter((run) => run.state !== "live");
    section.append(h("h1", {}, "Runs ", h("span", { class: "of" }, told.count.toLocaleString("en"))));
    if (!told.runs.length) section.append(h("p", { class: "dim" }, "No runs are recorded yet: pqrun run jobs.yaml"));
    if (live.length) section.append(...part("live", "Live", live));
    if (past.length) section.append(...part("past", "Past", past));
    if (told.count > told.runs.length) {
      section.append(h("p", { class: "more" }, `The newest ${told.runs.length}. pqrun runs lists all.`));
    }
  });
  const box = section.querySelector(".scroll");
  if (box) box.scrollLeft = left;
}

/**
 * @param {string} id
 * @param {string} title
 * @param {ListedRun[]} runs
 */
function part(id, title, runs) {
  const isLive = id === "live";
  const heads = ["State", "Run", "Source", "Started", isLive ? "For" : "Took", "Outcome", "Jobs", "Failed", "Next"];
  const right = new Set(["For", "Took", "Jobs", "Failed"]);
  const table = h(
    "table",
    { class: "runs", "aria-labelledby": `${id}-title` },
    h(
      "thead",
      {},
      h("tr", {}, ...heads.map((name) => h("th", { scope: "col", class: right.has(name) ? "right" : null }, name))),
    ),
    h("tbody", {}, ...runs.map(row)),
  );
  return [
    sectionTitle(id, title, h("span", { class: "dim" }, runs.length)),
    h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `${title} runs` }, table),
  ];
}

/** @param {ListedRun} run */
function row(run) {
  const [kind, word] = stateOf(run);
  const took = (run.ended ?? Date.now() / 1000) - run.began;
  const done = run.jobs - run.left;
  const next = run.state === "live" ? "" : run.left ? "" : run.failed ? " --failed" : null;
  return h(
    "tr",
    {},
    h("td", {}, h("span", { class: "state" }, icon(kind), h("span", { class: "word" }, word))),
    h(
      "td",
      {},
      h(
        "a",
        { class: "mono run-link", href: `./run/${encodeURIComponent(run.id)}` },
        h("b", {}, run.id.slice(0, run.prefix)),
        run.id.slice(run.prefix),
      ),
    ),
    h("td", { class: "cut", title: run.source }, run.trouble || run.source),
    h("td", { class: "dim" }, run.began ? dateAndTime(run.began * 1000) : ""),
    h("td", { class: "right" }, duration(Math.max(0, took) * 1e6)),
    h("td", {}, outcomes(run)),
    h("td", { class: "right" }, done === run.jobs ? run.jobs : `${done} of ${run.jobs}`),
    h("td", { class: run.failed ? "right bad" : "right dim" }, run.failed),
    h("td", {}, run.state !== "live" && next !== null && h("code", { class: "dim" }, `pqrun resume ${run.id}${next}`)),
  );
}

/** @param {ListedRun} run */
function outcomes(run) {
  const found = h("span", { class: "outcomes", "aria-hidden": "true" });
  for (const kind of OUTCOMES) {
    if (run.outcomes[kind]) found.append(outcomeBar(run.outcomes[kind], /** @type {any} */ (RUN_AREAS)[kind] ?? "strong-line"));
  }
  if (run.left) found.append(outcomeBar(run.left, "line"));
  return found;
}

/** @param {number} count @param {string} colour */
function outcomeBar(count, colour) {
  const found = h("span");
  found.style.flex = `${count} 1 0`;
  found.style.background = `var(--${colour})`;
  return found;
}
