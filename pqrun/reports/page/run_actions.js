/* What can be done with a live run and its jobs: the buttons, and the questions before what can't be undone. */

import { h, say } from "./dom.js";
import { plural } from "./format.js";
import { PRIORITIES } from "./run_data.js";

/** @typedef {import("./run_data.js").RunData} RunData */
/** @typedef {import("./records.js").Head} Head */

const UNSTARTED = ["queued", "pending", "waiting"];

export class RunActions {
  /**
   * @param {string} address of the run
   * @param {HTMLElement} place for the buttons of the run
   */
  constructor(address, place) {
    this._address = address;
    this._place = place;
    this._shown = "";
    this._note = h("p", { class: "note", role: "alert", hidden: true });
    this._dialog = h("dialog", { class: "question", "aria-labelledby": "question-title" });
    document.body.append(this._note, this._dialog);
  }

  /**
   * Show the buttons that fit the state of the run. A live run has them, unless the server is read-only.
   * @param {RunData} data
   */
  update(data) {
    const { head } = data;
    this._data = data;
    const mayAct = head.live && !head.readOnly;
    const shown = JSON.stringify([mayAct, head.run.workers, head.paused, head.stopping]);
    if (shown === this._shown) return;
    this._shown = shown;
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.act : "";
    this._place.replaceChildren(...(mayAct ? this._ofRun(head) : []));
    if (focused) /** @type {HTMLElement | null} */ (this._place.querySelector(`[data-act="${focused}"]`))?.focus();
  }

  /** @param {Head} head */
  _ofRun(head) {
    const workers = head.run.workers ?? 1;
    const set = (/** @type {number} */ count) => this._send("workers", { workers: count }, plural(count, "worker"));
    const hold = head.paused ? "unpause" : "pause";
    return [
      h(
        "span",
        { class: "choice workers", role: "group", "aria-label": "Workers" },
        h("span", { class: "dim" }, "workers"),
        action("fewer", "−", () => set(workers - 1), { "aria-label": "One worker less", disabled: workers <= 1 }),
        h("b", {}, workers),
        action("more", "+", () => set(workers + 1), { "aria-label": "One worker more" }),
      ),
      action("limit", "Limit tag…", () => this._askForLimit()),
      action("add", "Add job…", () => this._askForJob(), { disabled: head.stopping }),
      action(hold, head.paused ? "Unpause" : "Pause", () => this._send(hold, {}, `${hold}d`), {
        disabled: head.stopping,
      }),
      action("stop", "Stop…", () => this._askToStop(), { class: "button bad" }),
    ];
  }

  /**
   * Return the buttons for a job; none if nothing can be done with it.
   * @param {number} job
   */
  ofJob(job) {
    const { head, jobs } = /** @type {RunData} */ (this._data);
    if (!head.live || head.readOnly) return [];
    const state = jobs.state[job];
    const only = { jobs: [jobs.id[job]], seq: jobs.seq[job] };
    const name = /** @type {RunData} */ (this._data).name(job).slice(0, 80);
    const found = [];
    if (UNSTARTED.includes(state)) {
      found.push(
        this._priority(job, only, name),
        action("first", "Run first", () => this._send("set", { ...only, front: true }, `${name} goes first`)),
        action("hold", "Hold", () => this._send("hold", only, `${name} is held`)),
      );
    }
    if (state === "held") {
      found.push(action("release", "Release", () => this._send("release", only, `${name} may start`)));
    }
    if (state === "running" || state === "held" || UNSTARTED.includes(state)) {
      found.push(action("cancel", "Cancel", () => this._cancel(only, name, state), { class: "button bad" }));
    } else if (!head.stopping) {
      const again = () => this._send("restart", { jobs: only.jobs }, `${name} runs again`);
      found.push(action("restart", "Restart", again));
    }
    return [h("div", { class: "job-actions", role: "group", "aria-label": "Actions" }, ...found)];
  }

  /**
   * @param {number} job
   * @param {{jobs: string[], seq: number}} only
   * @param {string} name
   */
  _priority(job, only, name) {
    const { jobs } = /** @type {RunData} */ (this._data);
    const chosen = PRIORITIES[jobs.priority[job]];
    const list = h(
      "select",
      { "data-act": "priority", "aria-label": "Priority" },
      ...[...PRIORITIES].reverse().map((word) => h("option", { value: word, selected: word === chosen }, word)),
    );
    list.addEventListener("change", () =>
      this._send("set", { ...only, change: { priority: list.value } }, `${name}: ${list.value}`),
    );
    return h("label", {}, h("span", { class: "dim" }, "priority "), list);
  }

  /**
   * @param {{jobs: string[], seq: number}} only
   * @param {string} name
   * @param {string} state
   */
  _cancel(only, name, state) {
    const cancel = () => this._send("cancel", only, `${name} is cancelled`);
    if (state !== "running") return cancel();
    this._ask("Cancel the job?", [`${name} runs. It is stopped, and not tried again.`], [["Cancel job", cancel]]);
  }

  _askToStop() {
    const counts = /** @type {RunData} */ (this._data).counts();
    const number = (/** @type {string} */ kind) => counts.get(kind) ?? 0;
    const left = UNSTARTED.reduce((sum, kind) => sum + number(kind), number("held"));
    const running = number("running");
    this._ask(
      "Stop the run?",
      [
        `${plural(left, "job")} will not start. ${running ? `${plural(running, "job")} running.` : ""}`,
        "Nothing is lost: the run can be resumed.",
      ],
      [
        ["Let running jobs finish", () => this._send("stop", {}, "stopping: no more jobs start")],
        ["Stop running jobs, too", () => this._send("stop", { now: true }, "stopping")],
      ],
    );
  }

  _askForJob() {
    const command = h("input", { type: "text", required: true, spellcheck: "false", autocomplete: "off" });
    const id = h("input", { type: "text", spellcheck: "false", autocomplete: "off" });
    const priority = h(
      "select",
      {},
      ...[...PRIORITIES].reverse().map((word) => h("option", { value: word, selected: word === "normal" }, word)),
    );
    const add = () => {
      if (!command.value.trim()) return;
      const job = { run: command.value, priority: priority.value, ...(id.value ? { id: id.value } : {}) };
      this._send("add", { add: [job] }, "the job was added");
    };
    const fields = [
      h("label", {}, "Command", command),
      h("label", {}, "Id (optional)", id),
      h("label", {}, "Priority", priority),
    ];
    this._ask("Add a job", [h("div", { class: "fields" }, ...fields)], [["Add", add]]);
    command.focus();
  }

  _askForLimit() {
    const { head, jobs } = /** @type {RunData} */ (this._data);
    const limits = head.tagLimits ?? {};
    const known = [...new Set([...Object.keys(limits), ...jobs.tags.flat()])].sort();
    const tag = h("input", { type: "text", required: true, list: "known-tags", spellcheck: "false", autocomplete: "off" });
    const most = h("input", { type: "number", min: 1 });
    tag.addEventListener("input", () => {
      most.value = String(limits[tag.value] ?? "");
    });
    const limit = () => {
      const name = tag.value.trim();
      if (!name) return;
      const done = most.value ? `at most ${most.value} at a time` : "any number at a time";
      this._send("limit", { tag: name, workers: most.value ? Number(most.value) : null }, `${done} with tag:${name}`);
    };
    const fields = [
      h("label", {}, "Tag", tag, h("datalist", { id: "known-tags" }, ...known.map((value) => h("option", { value })))),
      h("label", {}, "Jobs at a time (empty: any number)", most),
    ];
    this._ask("Limit the jobs with a tag", [h("div", { class: "fields" }, ...fields)], [["Set limit", limit]]);
    tag.focus();
  }

  /**
   * Ask before something that can't be undone. The milder way stands first.
   * @param {string} title
   * @param {(Node | string)[]} lines
   * @param {[string, () => void][]} ways
   */
  _ask(title, lines, ways) {
    const close = () => this._dialog.close();
    const buttons = ways.map(([text, act], place) =>
      h(
        "button",
        {
          type: "submit",
          class: place || ways.length === 1 ? "button strong" : "button",
          click: () => {
            close();
            act();
          },
        },
        text,
      ),
    );
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id: "question-title" }, title),
      ...lines.map((line) => (typeof line === "string" ? h("p", {}, line) : line)),
      h("div", { class: "ways" }, h("button", { type: "button", class: "button", click: close }, "Back"), ...buttons),
    );
    this._dialog.replaceChildren(form);
    this._dialog.showModal();
  }

  /**
   * Send a request to the run, and say what came of it.
   * @param {string} verb
   * @param {object} facts
   * @param {string} done
   */
  async _send(verb, facts, done) {
    let text = done;
    let isBad = true;
    try {
      const answer = await fetch(`${this._address}/do`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ verb, ...facts }),
      });
      const told = await answer.json();
      if (!answer.ok) text = told.error;
      else if (told.count === 0 && verb !== "limit") text = "nothing was changed: the job is in another state by now";
      else isBad = false;
    } catch {
      text = "the server of this page does not answer";
    }
    this._note.textContent = text;
    this._note.classList.toggle("bad", isBad);
    this._note.hidden = false;
    say(text);
    clearTimeout(this._timer);
    this._timer = setTimeout(() => {
      this._note.hidden = true;
    }, 6000);
  }
}

/**
 * @param {string} name
 * @param {string} text
 * @param {() => void} click
 * @param {import("./dom.js").Attributes} [more]
 */
function action(name, text, click, more = {}) {
  return h("button", { type: "button", class: "button", "data-act": name, click, ...more }, text);
}
