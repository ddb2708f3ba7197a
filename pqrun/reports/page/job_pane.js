/* The pane of one job: how it ended, its attempts, its output, its command and its neighbours. */

import { attemptStrip } from "./attempt_strip.js";
import { choice, copyable, h, icon, refill, say } from "./dom.js";
import { outputOf, streamChoice } from "./failures.js";
import { bytes, capital, clock, duration, percent, plural, quoted } from "./format.js";
import { PRIORITIES } from "./run_data.js";

/** @typedef {import("./run_data.js").RunData} RunData */

const MAX_LINKS = 30;

export class JobPane {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {RunData} data
   * @param {number[][]} needs
   * @param {{changed: (job: number) => void, next: (job: number, step: number) => number,
   *   actions?: (job: number) => Node[]}} around
   *   `changed` is told which job is shown (-1: none); `next` returns the job before or after another; `actions`
   *   returns what can be done with a job of a live run
   */
  constructor(dialog, data, needs, around) {
    this.job = -1;
    this._dialog = dialog;
    this._data = data;
    this._needs = needs;
    this._around = around;
    /** @type {number[][] | null} */
    this._neededBy = null;
    /** @type {Element | null} */
    this._before = null;
  }

  /** Show a job. @param {number} job */
  open(job) {
    if (job < 0 || job >= this._data.count) return;
    if (this.job < 0) this._before = document.activeElement;
    this.job = job;
    this._dialog.replaceChildren(...this._contents(job));
    if (!this._dialog.open) this._dialog.show();
    this._dialog.scrollTop = 0;
    /** @type {HTMLElement | null} */ (this._dialog.querySelector("h2"))?.focus({ preventScroll: true });
    this._around.changed(job);
    say(`${this._data.name(job)}, ${this._data.kindOf(job)}`);
  }

  /**
   * Show newer data. The pane is made anew only if its job has changed, so that a text can be selected in it.
   * @param {RunData} data
   * @param {number[][]} needs
   */
  update(data, needs) {
    const seq = this.job < 0 ? -1 : this._data.jobs.seq[this.job];
    const before = this.job < 0 ? "" : shownOf(this._data, this.job);
    this._data = data;
    this._needs = needs;
    this._neededBy = null;
    if (this.job < 0) return;
    this.job = data.jobOf(seq);
    if (this.job < 0) return this.close();
    if (shownOf(data, this.job) === before) return;
    const top = this._dialog.scrollTop;
    refill(this._dialog, () => this._dialog.append(...this._contents(this.job)));
    this._dialog.scrollTop = top;
    this._around.changed(this.job);
  }

  /** Show the job before or after this one. @param {number} step */
  step(step) {
    const next = this._around.next(this.job, step);
    if (next >= 0) this.open(next);
  }

  close() {
    this.job = -1;
    this._dialog.close();
    this._around.changed(-1);
    if (this._before instanceof HTMLElement && this._before.isConnected) this._before.focus({ preventScroll: true });
  }

  /** @param {number} job */
  _contents(job) {
    const { jobs } = this._data;
    // A narrow screen has no keyboard, so there the buttons have signs in place of the keys.
    const key = (
      /** @type {string} */ name,
      /** @type {string} */ sign,
      /** @type {string} */ label,
      /** @type {() => void} */ act,
    ) =>
      h(
        "button",
        { type: "button", class: "button", title: label, click: act },
        h("kbd", {}, name),
        h("span", { class: "sign", "aria-hidden": "true" }, sign),
        h("span", { class: "hidden" }, label),
      );
    return [
      h(
        "div",
        { class: "pane-top" },
        icon(this._data.kindOf(job)),
        h("h2", { id: "pane-title", tabindex: -1 }, this._data.name(job)),
        h("span", { class: "dim" }, `#${jobs.seq[job]}`),
        h(
          "span",
          { class: "end" },
          key("k", "‹", "Previous job", () => this.step(-1)),
          key("j", "›", "Next job", () => this.step(1)),
          key("Esc", "×", "Close", () => this.close()),
        ),
      ),
      h(
        "div",
        { class: "inside" },
        this._sentence(job),
        ...(this._around.actions?.(job) ?? []),
        ...this._attempts(job),
        ...this._output(job),
        h("h3", {}, "Command"),
        copyable(jobs.command[job], "the job's command"),
        this._facts(job),
        ...this._again(job),
      ),
    ];
  }

  /** @param {number} job */
  _sentence(job) {
    const { jobs, attempts, first, waits } = this._data;
    const kind = this._data.kindOf(job);
    const state = jobs.state[job];
    const how = this._data
      .how(job)
      .replace(/^timeout /, "after ")
      .replace(/^timeout$/, "");
    const tries = jobs.attempts[job] && `try ${jobs.attempts[job]} of ${jobs.max_attempts[job]}`;
    let ran = 0,
      queued = 0,
      waited = 0;
    for (let one = first[job]; one < first[job + 1]; one++) {
      ran += attempts.ended[one] - attempts.began[one];
      queued += attempts.waited[one];
    }
    for (let one = 0; one < waits.job.length; one++)
      if (waits.job[one] === job) waited += waits.until[one] - waits.since[one];
    const word = h("b", {}, kind === "flaky" ? "OK after a retry" : capital(state));
    word.style.color = `var(--${kind in { ok: 1, failed: 1, timeout: 1, flaky: 1, running: 1, waiting: 1 } ? kind : "dim"})`;
    const parts = [how, tries, jobs.allowed[job] && state !== "skipped" && "allowed to fail"]
      .filter(Boolean)
      .join(", ");
    const times =
      first[job + 1] > first[job]
        ? `Ran ${duration(ran)}${first[job + 1] - first[job] > 1 ? " in all" : ""}, waited ${duration(queued)} in the queue${waited ? ` and ${duration(waited)} to retry` : ""}.`
        : "";
    return h(
      "p",
      {},
      word,
      parts && ` ${parts}`,
      ". ",
      h("span", { class: "dim" }, times),
      jobs.message[job] && h("span", {}, ` ${capital(jobs.message[job])}`),
    );
  }

  /** @param {number} job */
  _attempts(job) {
    const { attempts, first, jobs } = this._data;
    const from = first[job],
      to = first[job + 1];
    if (from === to) return [];
    const heads = ["Try", "Started", "Worker", "Ran", "How", "CPU", "Memory", "Then"];
    const right = new Set(["Ran", "CPU", "Memory"]);
    const body = h("tbody");
    for (let one = from; one < to; one++) {
      const ran = attempts.ended[one] - attempts.began[one];
      const cpu = attempts.user[one] + attempts.system[one];
      const isLast = one === to - 1;
      body.append(
        h(
          "tr",
          { "aria-current": isLast && to - from > 1 ? "true" : null },
          h("td", {}, attempts.attempt[one]),
          h("td", {}, clock(this._data.wall(attempts.began[one]))),
          h("td", {}, attempts.where[one] || attempts.lane[one]),
          h("td", { class: "right", title: `${ran / 1e6} s` }, duration(ran)),
          h("td", {}, attempts.how[one]),
          h("td", { class: "right" }, cpu ? percent(cpu / ran) : ""),
          h("td", { class: "right" }, bytes(attempts.memory[one])),
          h("td", { class: "dim" }, this._then(job, one, isLast)),
        ),
      );
    }
    const table = h(
      "table",
      { class: "tries" },
      h(
        "thead",
        {},
        h("tr", {}, ...heads.map((name) => h("th", { scope: "col", class: right.has(name) ? "right" : null }, name))),
      ),
      body,
    );
    const strip = to - from > 1 || jobs.attempts[job] > 1 ? attemptStrip(this._data, job) : null;
    return [
      h(
        "h3",
        {},
        "Attempts",
        strip && h("span", { class: "end" }, "solid: last · hatched: retried · dashed: wait · thin: queued"),
      ),
      ...(strip ? [strip] : []),
      h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Attempts" }, table),
    ];
  }

  /**
   * @param {number} job
   * @param {number} one
   * @param {boolean} isLast
   */
  _then(job, one, isLast) {
    const { attempts, waits, jobs } = this._data;
    for (let wait = 0; wait < waits.job.length; wait++) {
      if (waits.job[wait] === job && waits.attempt[wait] === attempts.attempt[one] + 1) {
        return `waited ${duration(waits.until[wait] - waits.since[wait])}`;
      }
    }
    if (!isLast) return "tried again";
    return ["failed", "timeout"].includes(jobs.state[job]) && jobs.max_attempts[job] > 1 ? "gave up" : "";
  }

  /** @param {number} job */
  _output(job) {
    const { attempts, first } = this._data;
    const from = first[job],
      to = first[job + 1];
    if (from === to) return [];
    let attempt = attempts.attempt[to - 1];
    /** @type {import("./failures.js").Shown} */
    let shown = "both";
    const place = h("div");
    const show = () => {
      const box = outputOf(this._data, job, attempt, shown);
      place.replaceChildren(box);
      box.scrollTop = box.scrollHeight;
      streams.replaceChildren(
        streamChoice(this._data, job, attempt, shown, (value) => {
          shown = value;
          show();
        }),
      );
    };
    const streams = h("span");
    /** @type {[string, string][]} */
    const tries = [];
    for (let one = Math.max(from, to - 8); one < to; one++)
      tries.push([String(attempts.attempt[one]), `try ${attempts.attempt[one]}`]);
    show();
    return [
      h(
        "h3",
        {},
        "Output",
        tries.length > 1 &&
          choice("Attempt", tries, String(attempt), (value) => {
            attempt = Number(value);
            show();
          }),
        streams,
      ),
      place,
    ];
  }

  /** @param {number} job */
  _facts(job) {
    const { jobs, head } = this._data;
    const list = h("dl");
    const add = (/** @type {string} */ name, /** @type {(Node | string | number | null | false)[]} */ ...values) => {
      if (values.some((value) => value !== null && value !== false && value !== "")) {
        list.append(h("dt", {}, name), h("dd", {}, ...values));
      }
    };
    const code = (/** @type {string | null} */ text) => (text ? h("code", {}, text) : null);
    const limits = [
      jobs.timeout[job] && !Number.isNaN(jobs.timeout[job]) && `${duration(jobs.timeout[job] * 1e6)} a try`,
      jobs.idle_timeout[job] &&
        !Number.isNaN(jobs.idle_timeout[job]) &&
        `${duration(jobs.idle_timeout[job] * 1e6)} without output`,
    ]
      .filter(Boolean)
      .join(", ");
    const attempt = jobs.attempts[job];
    add("Directory", code(jobs.cwd[job] ?? head.cwd));
    add("Variables", code(jobs.variables[job].join(" ")), jobs.variables[job].length > 0 && " (names only)");
    add(
      "Arguments",
      code(jobs.args[job].map(([name, value]) => `${name}=${value}`).join(" ")),
      jobs.args_left[job] > 0 && ` and ${jobs.args_left[job].toLocaleString("en")} more`,
    );
    add("Priority", PRIORITIES[jobs.priority[job]]);
    add("Tags", jobs.tags[job].join(", "));
    add(
      "Limit",
      limits && `${limits}, then ${jobs.stop_signal[job]}, SIGKILL after ${duration(jobs.grace[job] * 1e6)}`,
    );
    add("Retries", jobs.retry[job]);
    add("Exit", Number.isNaN(jobs.exit[job]) ? (jobs.signal[job] ?? "") : jobs.exit[job]);
    const isMeasured = attempt > 0 && jobs.state[job] !== "running"; // it is when the attempt ends
    add("CPU", isMeasured && `${duration(jobs.user[job])} user, ${duration(jobs.system[job])} system`);
    add("Memory", bytes(jobs.memory[job]) && `${bytes(jobs.memory[job])} at most`);
    add("Needs", ...this._links(this._needs[job], jobs.needs[job].length));
    add("Needed by", ...this._links(this._dependents(job)));
    add("Host", jobs.where[job]);
    add("From", code(jobs.file[job] && `${jobs.file[job]}${jobs.line[job] ? `:${jobs.line[job]}` : ""}`));
    if (isMeasured) {
      add(
        "stdout",
        jobs.out_bytes[job] > 0 && code(this._data.place(job, attempt, "out")),
        ` ${bytes(jobs.out_bytes[job])}`,
      );
      add(
        "stderr",
        jobs.err_bytes[job] > 0 && code(this._data.place(job, attempt, "err")),
        ` ${bytes(jobs.err_bytes[job])}`,
      );
    }
    return list;
  }

  /**
   * Return links to jobs.
   * @param {number[]} found
   * @param {number} [count] how many there are, with those that are not in the run
   */
  _links(found, count = found.length) {
    if (!count) return ["nothing"];
    /** @type {(Node | string)[]} */
    const links = [];
    for (const job of found.slice(0, MAX_LINKS)) {
      links.push(
        h("button", { type: "button", class: "link", click: () => this.open(job) }, this._data.name(job)),
        ", ",
      );
    }
    links.pop();
    const more = count - Math.min(found.length, MAX_LINKS);
    if (more) links.push(`${links.length ? " and " : ""}${plural(more, "more job")}`);
    return links;
  }

  /** Return the jobs that need a job. @param {number} job */
  _dependents(job) {
    if (!this._neededBy) {
      const neededBy = this._needs.map(() => /** @type {number[]} */ ([]));
      this._needs.forEach((needs, other) => needs.forEach((need) => neededBy[need].push(other)));
      this._neededBy = neededBy;
    }
    return this._neededBy[job];
  }

  /** Return the commands that are about this job. @param {number} job */
  _again(job) {
    const { address } = this._data.head;
    if (!address) return [];
    const id = quoted(this._data.jobs.id[job]);
    const found = [
      h("h3", {}, "In a terminal"),
      copyable(`pqrun logs ${quoted(address)} ${id}`, "the command that prints the output"),
    ];
    if (["failed", "timeout", "cancelled", "interrupted"].includes(this._data.jobs.state[job])) {
      found.push(
        copyable(`pqrun resume ${quoted(address)} --failed --only ${id}`, "the command that runs the job again"),
      );
    }
    return found;
  }
}

/**
 * Return what the pane shows of a job, to compare.
 * @param {RunData} data
 * @param {number} job
 */
function shownOf(data, job) {
  const { jobs, attempts, first, head } = data;
  const tries = attempts.counted.slice(first[job], first[job + 1]);
  const { state, priority, attempts: number, ended, message } = jobs;
  return JSON.stringify([state[job], priority[job], number[job], ended[job], message[job], head.live, ...tries]);
}
