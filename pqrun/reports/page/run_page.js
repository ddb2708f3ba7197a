/* The page of one run: its sections, and the keys. A live page gives it newer data again and again. */

import { criticalPath, needsOf } from "./critical_path.js";
import { byId, refill } from "./dom.js";
import { countFailures, fillFailures, fillOutput } from "./failures.js";
import { fillGraph } from "./graph.js";
import { fillHeadline } from "./headline.js";
import { JobPane } from "./job_pane.js";
import { JobTable } from "./job_table.js";
import { fillMetrics } from "./metrics.js";
import { SectionLinks, setUpKeys } from "./page_frame.js";
import { Timeline } from "./timeline.js";

/** @typedef {import("./run_data.js").RunData} RunData */

/**
 * @typedef {object} AroundPage
 * @property {(job: number) => Node[]} [actions] returns what can be done with a job of a live run
 * @property {(job: number) => void} [opened] is told which job the pane shows; -1: none
 */

export class RunPage {
  /**
   * @param {RunData} data
   * @param {AroundPage} [around]
   */
  constructor(data, around = {}) {
    this.data = data;
    const needs = needsOf(data);
    const critical = criticalPath(data, needs);
    this._table = new JobTable(byId("jobs"), data, (job) => this.pane.open(job));
    this._timeline = new Timeline(byId("timeline"), data, critical, (job) => this.pane.open(job));
    this.pane = new JobPane(/** @type {HTMLDialogElement} */ (byId("pane")), data, needs, {
      changed: (job) => {
        this._timeline.mark(job);
        around.opened?.(job);
      },
      next: (job, step) => this._table.neighbour(job, step),
      actions: around.actions,
    });
    this._links = new SectionLinks();
    this._failed = "";
    this._fill(needs, critical);
    this._listen();
  }

  /** Show newer data. @param {RunData} data */
  update(data) {
    const needs = needsOf(data);
    const critical = criticalPath(data, needs);
    this.data = data;
    this._table.update(data);
    this._timeline.update(data, critical);
    this.pane.update(data, needs);
    this._fill(needs, critical);
  }

  /**
   * Show what is new of the output of an attempt. A box that shows the end goes on showing it.
   * @param {number} seq
   * @param {number} attempt
   */
  showOutput(seq, attempt) {
    for (const box of document.querySelectorAll(`.output[data-of="${seq}-${attempt}"]`)) {
      if (!(box instanceof HTMLElement)) continue;
      const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
      fillOutput(box, this.data, this.data.jobOf(seq), attempt);
      if (isAtEnd) box.scrollTop = box.scrollHeight;
    }
  }

  /**
   * @param {number[][]} needs
   * @param {import("./critical_path.js").CriticalPath} critical
   */
  _fill(needs, critical) {
    const data = this.data;
    const open = (/** @type {number} */ job) => this.pane.open(job);
    const show = (/** @type {string} */ query) => {
      this._table.filter(query);
      byId("jobs").scrollIntoView();
    };
    const headline = byId("headline");
    refill(headline, () => fillHeadline(headline, data, show));
    this._fillFailures(open, show);
    const graph = byId("graph");
    const left = graph.querySelector(".graph")?.scrollLeft ?? 0;
    refill(graph, () => fillGraph(graph, data, needs, critical, open, show));
    const drawn = graph.querySelector(".graph");
    if (drawn) drawn.scrollLeft = left;
    const metrics = byId("metrics");
    refill(metrics, () => fillMetrics(metrics, data));
    this._links.update(data);
  }

  /**
   * @param {(job: number) => void} open
   * @param {(query: string) => void} show
   */
  _fillFailures(open, show) {
    const { jobs } = this.data;
    const skipped = jobs.state.reduce((count, state) => count + Number(state === "skipped"), 0);
    const failed = JSON.stringify([
      skipped,
      this.data.failures().map((job) => [jobs.seq[job], jobs.state[job], jobs.attempts[job], jobs.ended[job]]),
    ]);
    const section = byId("failures");
    if (failed === this._failed) return countFailures(section, this.data); // the output can be read and selected
    this._failed = failed;
    const pressed = section.querySelector(".failure[aria-pressed=true]");
    const chosen = Number(pressed instanceof HTMLElement ? pressed.dataset.seq : 0);
    const top = section.querySelector(".failure-list")?.scrollTop ?? 0;
    refill(section, () => fillFailures(section, this.data, open, show, chosen));
    const list = section.querySelector(".failure-list");
    if (list) list.scrollTop = top;
  }

  _listen() {
    const keys = setUpKeys();
    const { pane, _table: table, _timeline: timeline } = this;
    addEventListener("keydown", (event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
      if (event.key === "Escape" && pane.job >= 0) {
        event.preventDefault();
        return pane.close();
      }
      if (target.closest("input, select, textarea")) return;
      switch (event.key) {
        case "/":
          event.preventDefault();
          return table.focusFilter();
        case "?":
          return keys.showModal();
        case "t":
          return byId("theme").click();
        case "j":
          return pane.job >= 0 ? pane.step(1) : table.move(1);
        case "k":
          return pane.job >= 0 ? pane.step(-1) : table.move(-1);
        case "+":
        case "=":
          return timeline.zoom(2);
        case "-":
          return timeline.zoom(0.5);
        case "0":
          return timeline.fit();
        case "[":
          return timeline.pan(-0.3);
        case "]":
          return timeline.pan(0.3);
      }
    });
  }
}
