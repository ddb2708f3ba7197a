/* The start of the live page: the list of runs, or one run, fed by the server's events. */

import { byId, h, say } from "./dom.js";
import { LiveData, LiveOutputs, LiveRecords } from "./live_data.js";
import { LiveSamples } from "./live_samples.js";
import { setUpKeys, setUpTheme } from "./page_frame.js";
import { RunActions } from "./run_actions.js";
import { fillRuns } from "./run_list.js";
import { RunPage } from "./run_page.js";

/** @typedef {import("./records.js").Head} Head */

const MIN_PAUSE_MS = 400,
  PAUSE_FOR_COST = 8; // after an update that took 50 ms the next one comes 400 ms later at the earliest

/**
 * Listen to the events of the server, and show whether it is there.
 * @param {string} address
 */
function listenTo(address) {
  const place = h("span", { id: "connection", role: "status" }, "connecting");
  byId("bar").querySelector(".tools")?.prepend(place);
  const events = new EventSource(address);
  const tell = (/** @type {string} */ state, /** @type {string} */ text) => {
    if (place.textContent === text) return;
    place.dataset.state = state;
    place.textContent = text;
  };
  events.addEventListener("open", () => tell("there", "connected"));
  events.addEventListener("error", () => {
    const isOver = events.readyState === EventSource.CLOSED;
    tell(isOver ? "gone" : "lost", isOver ? "the server is gone" : "connection lost, trying again");
  });
  return { events, tell };
}

function showRuns() {
  setUpKeys();
  const { events } = listenTo("./events");
  document.title = "Runs – pqrun";
  events.addEventListener("runs", (event) => {
    fillRuns(JSON.parse(event.data));
    document.documentElement.dataset.ready = "true";
  });
}

class LiveRun {
  constructor() {
    const address = location.pathname.replace(/\/$/, "");
    this._records = new LiveRecords();
    this._samples = new LiveSamples();
    this._outputs = new LiveOutputs(address, (seq, attempt) => this._page?.showOutput(seq, attempt));
    const place = h("div", { id: "actions", role: "group", "aria-label": "Actions on the run" });
    byId("headline").before(place);
    byId("sections").before(h("a", { class: "back", href: "../" }, "← Runs"));
    this._actions = new RunActions(address, place);
    /** @type {RunPage | null} */
    this._page = null;
    /** @type {Head | null} */
    this._head = null;
    this._due = 0;
    this._timer = 0;
    const { events, tell } = listenTo(`${address}/events`);
    events.addEventListener("anew", () => this._records.clear());
    events.addEventListener("chunk", (event) => this._records.add(JSON.parse(event.data)));
    events.addEventListener("head", (event) => {
      const head = /** @type {Head} */ (JSON.parse(event.data));
      this._head = head;
      this._samples.take(head);
      tell("there", head.live ? "connected, live" : "connected");
      this._wanted();
    });
    document.addEventListener("visibilitychange", () => this._wanted());
    events.addEventListener("trouble", (event) => tell("lost", JSON.parse(event.data).error));
  }

  /** Update the page soon. The more an update costs, the rarer they are. Out of sight a fast run is left alone. */
  _wanted() {
    if (document.hidden && this._head?.ahead) return;
    this._timer ||= setTimeout(
      () => {
        this._timer = 0;
        const began = performance.now();
        this._update();
        this._due = performance.now() + Math.max(MIN_PAUSE_MS, PAUSE_FOR_COST * (performance.now() - began));
      },
      Math.max(0, this._due - performance.now()),
    );
  }

  _update() {
    if (!this._head) return;
    const data = new LiveData(this._head, this._records.chunks(), this._outputs, this._samples.all);
    this._actions.update(data);
    if (this._page) return this._page.update(data);
    this._page = new RunPage(data, { actions: (job) => this._actions.ofJob(job), opened: (job) => this._opened(job) });
    const seq = /^#job-(\d+)$/.exec(location.hash);
    if (seq) this._page.pane.open(data.jobOf(Number(seq[1])));
    document.documentElement.dataset.ready = "true";
    say(`${document.title}, ${data.jobCount()} jobs`);
  }

  /** Follow the output of the job in the pane. @param {number} job */
  _opened(job) {
    const data = this._page?.data;
    if (!data || job < 0) this._outputs.follow(0, 0);
    else this._outputs.follow(data.jobs.seq[job], data.jobs.attempts[job]);
  }
}

setUpTheme();
if (/\/run\/[^/]+\/?$/.test(location.pathname)) new LiveRun();
else showRuns();
