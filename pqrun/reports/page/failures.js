/* The jobs that failed, the first to fail first, each with the end of its output. */

import { choice, h, icon, sectionTitle } from "./dom.js";
import { bytes, duration, plural } from "./format.js";

/** @typedef {import("./run_data.js").RunData} RunData */

const MAX_LISTED = 200;
const MAX_LINES = 400;

let forgetWidth = () => {};

/** @typedef {"both" | "out" | "err"} Shown */

/**
 * Return the text of a stream, or of both one after the other, as an element.
 * @param {RunData} data
 * @param {number} job
 * @param {number} attempt
 * @param {Shown} shown
 * @param {number} [most] the number of lines to show of each
 */
export function outputOf(data, job, attempt, shown, most = Infinity) {
  const label = { both: "stdout and stderr", out: "stdout", err: "stderr" }[shown];
  const of = `${data.jobs.seq[job]}-${attempt}`;
  const box = h("pre", { class: "output", tabindex: 0, role: "group", "aria-label": label, "data-of": of });
  box.dataset.shown = shown;
  box.dataset.most = String(most);
  fillOutput(box, data, job, attempt);
  return box;
}

/**
 * Fill a box of `outputOf` with what is known of the output by now.
 * @param {HTMLElement} box
 * @param {RunData} data
 * @param {number} job
 * @param {number} attempt
 */
export function fillOutput(box, data, job, attempt) {
  const shown = box.dataset.shown;
  const most = Number(box.dataset.most);
  const found = data.output(job, attempt);
  box.replaceChildren();
  for (const stream of /** @type {("out" | "err")[]} */ (["out", "err"])) {
    const size = data.size(job, attempt, stream);
    if (shown !== "both" && shown !== stream) continue;
    if (shown === "both" && !size) continue;
    if (box.childNodes.length) box.append(h("span", { class: "ours" }, "── stderr ──\n"));
    const place = data.place(job, attempt, stream);
    const text = found?.[stream];
    if (!text) {
      box.append(
        h(
          "span",
          { class: "ours" },
          !size ? "no output\n" : place ? `${bytes(size)}: ${place}\n` : `${bytes(size)}, not kept\n`,
        ),
      );
      continue;
    }
    const cut = found[stream === "out" ? "outCut" : "errCut"];
    if (cut > 0)
      box.append(h("span", { class: "ours" }, `[${bytes(cut)} before this are left out${place ? `: ${place}` : ""}]\n`));
    const lines = text.replace(/\n$/, "").split("\n");
    box.append(h("span", { class: stream }, `${(lines.length > most ? lines.slice(-most) : lines).join("\n")}\n`));
  }
  if (!box.childNodes.length) box.append(h("span", { class: "ours" }, "no output\n"));
}

/**
 * Return buttons for the streams of an attempt.
 * @param {RunData} data
 * @param {number} job
 * @param {number} attempt
 * @param {Shown} shown
 * @param {(value: Shown) => void} act
 */
export function streamChoice(data, job, attempt, shown, act) {
  const named = (/** @type {string} */ name, /** @type {"out" | "err"} */ stream) => {
    const size = data.size(job, attempt, stream);
    return size || !data.head.live ? `${name} ${bytes(size)}` : name; // of a running attempt the size is not known
  };
  return choice(
    "Stream",
    [
      ["both", "both"],
      ["out", named("stdout", "out")],
      ["err", named("stderr", "err")],
    ],
    shown,
    (value) => act(/** @type {Shown} */ (value)),
  );
}

/**
 * Fill the section of failures, unless nothing failed.
 * @param {HTMLElement} section
 * @param {RunData} data
 * @param {(job: number) => void} open
 * @param {(query: string) => void} show
 * @param {number} [chosen] the number of the job whose output is shown first
 */
export function fillFailures(section, data, open, show, chosen = 0) {
  const failed = data.failures();
  const skipped = skippedBy(data);
  if (!failed.length && !skipped.length) return;
  const list = h("ul", { class: "failure-list" });
  const tail = h("div", { class: "tail" });
  /** @type {HTMLElement[]} */
  const buttons = [];
  const narrow = matchMedia("(max-width: 760px)");

  const choose = (/** @type {number} */ place, scroll = true) => {
    buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === place)));
    fillTail(tail, data, failed[place], open);
    if (narrow.matches) {
      buttons[place].after(tail);
      tail.style.minHeight = "";
    } else {
      if (tail.parentElement !== split) split.append(tail);
      tail.style.minHeight = `${tail.offsetHeight}px`; // it only grows, so that what is below does not jump
    }
    if (scroll) buttons[place].scrollIntoView({ block: "nearest" });
    const box = tail.querySelector(".output");
    if (box) box.scrollTop = box.scrollHeight;
  };
  failed.slice(0, MAX_LISTED).forEach((job, place) => {
    const button = failureButton(data, job);
    button.dataset.seq = String(data.jobs.seq[job]);
    button.addEventListener("click", () => choose(place, false));
    button.addEventListener("dblclick", () => open(job));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step && buttons[place + step]) {
        event.preventDefault();
        event.stopPropagation();
        buttons[place + step].focus();
        choose(place + step);
      } else if (event.key === "Enter") {
        event.preventDefault();
        open(job);
      }
    });
    buttons.push(button);
    list.append(h("li", {}, button));
  });
  for (const { names, why, query } of skipped.slice(0, 20)) {
    list.append(
      h(
        "li",
        {},
        h(
          "button",
          { type: "button", class: "failure", click: () => show(query) },
          icon("skipped"),
          h("span", { class: "name" }, names),
          h("span", { class: "how" }, "skipped"),
          h("span", {}),
          h("span", { class: "last cut" }, why),
        ),
      ),
    );
  }
  const split = h("div", { class: "split" }, list);
  section.append(
    sectionTitle(
      "failures",
      failed.length ? "Failures" : "Skipped",
      h("p", { class: "failed" }),
      failed.length > 1 && h("p", { class: "end" }, "the first to fail stands first, those allowed to fail last"),
    ),
    split,
  );
  if (failed.length > MAX_LISTED) {
    section.append(h("p", { class: "more" }, `The table lists all ${failed.length.toLocaleString("en")}.`));
  }
  countFailures(section, data);
  const first = buttons.findIndex((button) => button.dataset.seq === String(chosen));
  if (failed.length) choose(Math.max(0, first), false);
  const pressed = () => Math.max(0, buttons.findIndex((one) => one.getAttribute("aria-pressed") === "true"));
  const turn = () => failed.length && choose(pressed());
  forgetWidth();
  narrow.addEventListener("change", turn);
  forgetWidth = () => narrow.removeEventListener("change", turn);
}

/**
 * Show how many jobs failed, and how many of them are not listed yet.
 * @param {HTMLElement} section
 * @param {RunData} data
 */
export function countFailures(section, data) {
  const place = section.querySelector("p.failed");
  if (!place) return;
  const failed = data.failures().length;
  const follow = data.failureCount() - failed;
  const skipped = skippedBy(data).reduce((sum, one) => sum + one.count, 0);
  const parts = [
    failed && `${plural(failed, "job")}${follow ? `, ${follow.toLocaleString("en")} more follow${follow === 1 ? "s" : ""}` : ""}`,
    skipped && `${skipped} skipped because of ${failed === 1 ? "it" : "them"}`,
  ];
  const text = parts.filter(Boolean).join(", and ");
  if (place.textContent !== text) place.textContent = text;
}

/**
 * @param {RunData} data
 * @param {number} job
 */
function failureButton(data, job) {
  const { jobs } = data;
  const how = jobs.state[job] === "timeout" || jobs.state[job] === "failed" ? data.how(job) : jobs.state[job];
  return h(
    "button",
    { type: "button", class: "failure", "aria-pressed": "false" },
    icon(data.kindOf(job)),
    h(
      "span",
      { class: "name" },
      data.name(job),
      " ",
      jobs.allowed[job] === 1 && h("span", { class: "tag" }, "allowed to fail"),
      h("span", { class: "hidden" }, ` ${jobs.state[job]}`),
    ),
    h(
      "span",
      { class: "how" },
      how,
      jobs.attempts[job] > 0 &&
        h("span", { class: "tries" }, `${how ? ", " : ""}try ${jobs.attempts[job]}/${jobs.max_attempts[job]}`),
    ),
    h("span", { class: "took" }, duration(jobs.ran[job])),
    h("span", { class: "last mono cut" }, data.lastOutput(job)),
  );
}

/**
 * @param {HTMLElement} tail
 * @param {RunData} data
 * @param {number} job
 * @param {(job: number) => void} open
 */
function fillTail(tail, data, job, open) {
  const attempt = data.jobs.attempts[job];
  let box = outputOf(data, job, attempt, "both", MAX_LINES);
  const show = (/** @type {Shown} */ shown) => {
    const next = outputOf(data, job, attempt, shown, MAX_LINES);
    box.replaceWith(next);
    box = next;
    box.scrollTop = box.scrollHeight;
  };
  tail.replaceChildren(
    h(
      "div",
      { class: "top" },
      h("code", { class: "cut" }, `$ ${data.jobs.command[job].split("\n")[0]}`),
      streamChoice(data, job, attempt, "both", show),
      h("button", { type: "button", class: "button", click: () => open(job) }, "Open job"),
    ),
    box,
  );
}

/**
 * Return the skipped jobs, those with one reason together.
 * @param {RunData} data
 */
function skippedBy(data) {
  /** @type {Map<string, number[]>} */
  const groups = new Map();
  data.jobs.state.forEach((state, job) => {
    if (state !== "skipped" || data.jobs.allowed[job]) return;
    const why = data.jobs.message[job];
    const group = groups.get(why);
    if (group) group.push(job);
    else groups.set(why, [job]);
  });
  return [...groups].map(([why, jobs]) => ({
    names:
      jobs
        .slice(0, 5)
        .map((job) => data.name(job))
        .join(", ") + (jobs.length > 5 ? ` and ${jobs.length - 5} more` : ""),
    why,
    count: jobs.length,
    query: jobs.length === 1 ? `seq:${data.jobs.seq[jobs[0]]}` : `state:skipped "${why.replace(/"/g, "")}"`,
  }));
}
