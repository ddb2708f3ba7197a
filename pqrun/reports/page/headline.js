/* The first screen: how the run ended, when and where, its counts, and the commands to go on with. */

import { copyable, h, icon } from "./dom.js";
import { clock, dateAndTime, duration, plural } from "./format.js";

/** @typedef {import("./run_data.js").RunData} RunData */

const AREAS = {
  failed: "failed-area",
  timeout: "timeout-area",
  flaky: "ok-area",
  ok: "ok-area",
  running: "running-area",
};

/**
 * Return how the run ended: the icon, and the word.
 * @param {RunData} data
 * @returns {[string, string]}
 */
export function outcome(data) {
  const { head } = data;
  if (head.live && head.stopping) return ["stopped", "Stopping"];
  if (head.live) return head.paused ? ["paused", "Paused"] : ["running", "Running"];
  if (head.run.state === "stopped" || head.code > 128) return ["stopped", "Stopped"];
  const bad = data.failures().filter((job) => !data.jobs.allowed[job]);
  if (bad.length)
    return bad.some((job) => data.jobs.state[job] !== "timeout") ? ["failed", "Failed"] : ["timeout", "Timeout"];
  if (head.code === 3) return ["skipped", "Not all jobs ran"];
  return head.code ? ["failed", "Failed"] : ["ok", "OK"];
}

/** Return what the run was read from. @param {RunData} data */
export function sourceOf(data) {
  const files = data.head.run.files.filter((file) => file !== "-").map((file) => file.replace(/^.*\//, ""));
  return (
    files.join(", ") || (data.head.run.files.length ? "stdin" : (/^pqrun (\w+)/.exec(data.head.command)?.[1] ?? ""))
  );
}

/**
 * Fill the headline.
 * @param {HTMLElement} section
 * @param {RunData} data
 * @param {(query: string) => void} show filters the table
 */
export function fillHeadline(section, data, show) {
  const { head } = data;
  const [kind, word] = outcome(data);
  const source = sourceOf(data);
  document.title = `${word}${source ? `, ${source}` : ""} – pqrun`;
  section.append(
    h("h1", {}, icon(kind), word, h("span", { class: "of" }, source)),
    facts(data),
    bar(data),
    counts(data, show),
    commands(data),
  );
  if (head.stopped) section.append(h("p", { class: "warning" }, `The run was stopped: ${head.stopped}`));
  if (!head.run.input_complete) {
    section.append(h("p", { class: "warning" }, "The list of jobs was not read completely."));
  }
}

/** @param {RunData} data */
function facts(data) {
  const { head } = data;
  const began = head.began * 1000;
  const end = data.wall(data.end);
  const sameDay = new Date(began).toDateString() === new Date(end).toDateString();
  const until = head.live ? "" : ` – ${sameDay ? clock(end) : dateAndTime(end)}`;
  return h(
    "div",
    { class: "facts" },
    h("span", {}, "run ", h("b", { class: "mono" }, head.run.id)),
    h("span", {}, `${dateAndTime(began)}${until}`),
    h("span", {}, head.live ? "for " : "took ", h("b", {}, duration(data.end))),
    head.live &&
      typeof head.secondsLeft === "number" &&
      h("span", {}, "about ", h("b", {}, duration(Math.ceil(head.secondsLeft) * 1e6)), " to go"),
    h(
      "span",
      {},
      head.run.workers === null ? "" : `${plural(head.run.workers, "worker")} `,
      "on ",
      h("b", {}, head.host),
    ),
    ...Object.entries(head.tagLimits ?? {}).map(([tag, most]) =>
      h("span", {}, "at most ", h("b", {}, most), ` at a time with tag:${tag}`),
    ),
    !head.live && h("span", {}, "exit code ", h("b", {}, head.code)),
    h("span", {}, `pqrun ${head.version}`),
  );
}

/** Return the bar with a part for each kind of job. @param {RunData} data */
function bar(data) {
  const found = h("div", { class: "outcomes", "aria-hidden": "true" });
  for (const [kind, count] of data.counts()) {
    if (!count) continue;
    const part = h("span", { title: `${count} ${kind}` });
    part.style.flex = `${count} 1 0`;
    const area = /** @type {{[kind: string]: string}} */ (AREAS)[kind];
    if (area) part.style.background = `var(--${area})`;
    else {
      part.style.background = "none";
      part.style.border = "1px solid var(--strong-line)";
    }
    found.append(part);
  }
  return found;
}

/**
 * @param {RunData} data
 * @param {(query: string) => void} show
 */
function counts(data, show) {
  const { jobs } = data;
  const found = h("div", { class: "counts" });
  const number = data.counts();
  const flaky = number.get("flaky") ?? 0;
  number.set("ok", (number.get("ok") ?? 0) + flaky);
  number.delete("flaky");
  if (flaky) number.set("flaky", flaky);
  const allowed = jobs.state.filter(
    (state, job) => jobs.allowed[job] && (state === "failed" || state === "timeout"),
  ).length;
  for (const [kind, count] of number) {
    if (!count) continue;
    const note = kind === "flaky" ? "ok after a retry" : kind === "failed" && allowed ? `${allowed} allowed` : "";
    found.append(
      h(
        "button",
        { type: "button", click: () => show(kind === "flaky" ? "is:flaky" : `state:${kind}`), "data-count": kind },
        icon(kind),
        h("b", {}, count.toLocaleString("en")),
        h("span", { class: "word" }, kind),
        note && h("span", { class: "dim" }, note),
      ),
    );
  }
  found.append(
    h("span", { class: "dim" }, `${plural(data.jobCount(), "job")}, ${plural(data.attemptCount(), "attempt")}`),
  );
  return found;
}

/** @param {RunData} data */
function commands(data) {
  const { head } = data;
  const failed = data.failures().some((job) => !data.jobs.allowed[job]);
  const undone =
    !head.live &&
    [...data.counts()].some(
      ([kind, count]) => count && ["interrupted", "running", "waiting", "queued", "pending", "held"].includes(kind),
    );
  const found = h("div", { class: "commands" });
  if (head.command) found.append(h("span", {}, "ran"), copyable(head.command, "the command that ran"));
  if (!head.live && undone && head.resume) {
    found.append(h("span", {}, "continue"), copyable(head.resume, "the command that continues the run"));
  } else if (!head.live && failed && head.resumeFailed) {
    found.append(
      h("span", {}, "run the failed again"),
      copyable(head.resumeFailed, "the command that runs failed jobs again"),
    );
  }
  return found;
}
