/* The timeline: what the reader does with it. The drawing is in timeline_paint.js. */

import { byId, h, icon, say, sectionTitle } from "./dom.js";
import { clock, duration } from "./format.js";
import { firstAfter } from "./lanes.js";
import { legend } from "./timeline_legend.js";
import { TimelinePainter } from "./timeline_paint.js";
import { Scale } from "./timeline_scale.js";

/** @typedef {import("./run_data.js").RunData} RunData */

const CLICK_PX = 4,
  NEAR_PX = 3,
  WHEEL_ZOOM = 1.0015;

/** Return the jobs that are marked as the critical path. @param {import("./critical_path.js").CriticalPath} critical */
function onPath(critical) {
  return new Set(critical.edges ? critical.jobs : []);
}

export class Timeline {
  /**
   * @param {HTMLElement} section
   * @param {RunData} data
   * @param {import("./critical_path.js").CriticalPath} critical
   * @param {(job: number) => void} open
   */
  constructor(section, data, critical, open) {
    this._section = section;
    this._data = data;
    this._open = open;
    this._scale = new Scale(data.end);
    this._painter = new TimelinePainter(data, this._scale, onPath(critical));
    this._frame = 0;
    this._cursor = -1;
    /** @type {Map<number, number>} the places of the pointers that are down */
    this._down = new Map();
    this._pressedAt = 0;
    this._moved = false;
    this._about = h("p");
    this._legend = h("span", { class: "legend end" });
    if (data.attemptCount()) this._build();
    this._describe(critical);
  }

  /**
   * Show newer data. What is in sight stays, or all of the run if all was in sight.
   * @param {RunData} data
   * @param {import("./critical_path.js").CriticalPath} critical
   */
  update(data, critical) {
    const isFit = this._scale.isFit;
    const before = this._painter;
    const seqOf = (/** @type {number} */ job) => (job < 0 ? -1 : data.jobOf(this._data.jobs.seq[job]));
    const marked = seqOf(before.marked);
    this._data = data;
    this._scale.end = Math.max(this._scale.end, data.end);
    if (isFit) this._scale.fit();
    this._painter = new TimelinePainter(data, this._scale, onPath(critical));
    this._painter.marked = marked;
    if (this._cursor >= data.attempts.job.length || this._down.size) this._cursor = -1;
    if (!this._canvas && data.attemptCount()) this._build();
    this._describe(critical);
    this._wanted();
  }

  /** @param {import("./critical_path.js").CriticalPath} critical */
  _describe(critical) {
    const took = `took ${duration(this._data.end)}`;
    const endless = critical.micros
      ? `; with unlimited workers ${duration(critical.micros)}${critical.edges ? ", the critical path" : ", the longest job"}`
      : "";
    const soFar = this._data.followCount() ? "so far; most bars follow later" : "so far";
    this._about.textContent = this._data.head.live ? soFar : took + endless;
    this._legend.replaceChildren(...legend(this._data, onPath(critical).size > 0));
    this._canvas?.setAttribute(
      "aria-label",
      `Timeline of ${this._data.attempts.job.length} attempts. Arrow keys move between attempts, Enter opens the job, plus and minus zoom.`,
    );
  }

  _build() {
    this._canvas = h("canvas", {
      tabindex: 0,
      role: "application",
      "aria-roledescription": "timeline",
    });
    this._fitButton = h("button", { type: "button", "aria-pressed": "true", click: () => this.fit() }, "fit");
    this._section.append(
      sectionTitle(
        "timeline",
        "Timeline",
        this._about,
        this._legend,
        h(
          "span",
          { class: "choice", role: "group", "aria-label": "Zoom" },
          h("button", { type: "button", "aria-label": "Zoom out", click: () => this.zoom(0.5) }, "−"),
          this._fitButton,
          h("button", { type: "button", "aria-label": "Zoom in", click: () => this.zoom(2) }, "+"),
        ),
      ),
      h("div", { class: "plot" }, this._canvas),
    );
    this._listen(this._canvas);
    new ResizeObserver(() => this._wanted()).observe(this._canvas);
    addEventListener("themechange", () => {
      this._painter.forgetColours();
      this._draw();
    });
    addEventListener("beforeprint", () => this._draw());
    this._wanted();
  }

  /** Outline the attempts of a job; -1: of none. @param {number} job */
  mark(job) {
    this._painter.marked = job;
    const { first, attempts } = this._data;
    if (job >= 0 && first[job + 1] > first[job])
      this._scale.reveal(attempts.submitted[first[job]], attempts.ended[first[job + 1] - 1]);
    this._wanted();
  }

  /** @param {number} factor @param {number} [at] */
  zoom(factor, at) {
    this._scale.zoom(factor, at);
    this._wanted();
  }

  /** @param {number} share */
  pan(share) {
    this._scale.pan(share);
    this._wanted();
  }

  fit() {
    this._scale.fit();
    this._wanted();
  }

  _wanted() {
    this._frame ||= requestAnimationFrame(() => {
      this._frame = 0;
      this._draw();
    });
  }

  _draw() {
    const canvas = this._canvas;
    if (!canvas || !canvas.clientWidth) return;
    const width = canvas.clientWidth,
      height = this._painter.layOut(width),
      ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
    }
    const to = canvas.getContext("2d");
    if (!to) return;
    to.setTransform(ratio, 0, 0, ratio, 0, 0);
    this._painter.draw(to, width, height);
    this._fitButton?.setAttribute("aria-pressed", String(this._scale.isFit));
  }

  /** @param {HTMLCanvasElement} canvas */
  _listen(canvas) {
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) {
          event.preventDefault();
          this.zoom(WHEEL_ZOOM ** -event.deltaY, this._scale.at(event.offsetX));
        } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
          event.preventDefault();
          this.pan((event.deltaX || event.deltaY) / this._scale.width);
        }
      },
      { passive: false },
    );
    canvas.addEventListener("dblclick", (event) => this.zoom(3, this._scale.at(event.offsetX)));
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      this._down.set(event.pointerId, event.offsetX);
      this._pressedAt = event.offsetX;
      this._moved = false;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => this._pointerMoved(event, canvas));
    canvas.addEventListener("pointerup", (event) => {
      this._down.delete(event.pointerId);
      canvas.classList.remove("grab");
      if (this._moved) return;
      const job = this._jobAt(event.offsetX, event.offsetY);
      if (job >= 0) this._open(job);
    });
    canvas.addEventListener("pointercancel", (event) => this._down.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => this._hover(-1, null));
    canvas.addEventListener("blur", () => {
      this._painter.hovered = -1;
      this._hideTip();
      this._wanted();
    });
    canvas.addEventListener("keydown", (event) => this._key(event));
  }

  /** @param {PointerEvent} event @param {HTMLCanvasElement} canvas */
  _pointerMoved(event, canvas) {
    const before = this._down.get(event.pointerId);
    if (before === undefined) {
      const one = this._attemptAt(event.offsetX, event.offsetY);
      canvas.classList.toggle("over", one >= 0 || this._waitAt(event.offsetX, event.offsetY) >= 0);
      return this._hover(one, event);
    }
    if (Math.abs(event.offsetX - this._pressedAt) > CLICK_PX) this._moved = true;
    if (this._down.size === 2) {
      const [one, other] = [...this._down.values()];
      this._down.set(event.pointerId, event.offsetX);
      const [now, then] = [...this._down.values()];
      const factor = Math.abs(now - then) / Math.max(1, Math.abs(one - other));
      if (factor > 0.2 && factor < 5) this.zoom(factor, this._scale.at((now + then) / 2));
    } else if (this._moved) {
      canvas.classList.add("grab");
      this.pan((before - event.offsetX) / this._scale.width);
      this._down.set(event.pointerId, event.offsetX);
    }
  }

  /**
   * Return the attempt at a place; of several that are near the worst.
   * @param {number} x
   * @param {number} y
   */
  _attemptAt(x, y) {
    const { lane, lanes, classes } = this._painter;
    const place = Math.floor((y - lane.top) / (lane.height + lane.gap));
    if (place < 0 || place >= lanes.length || x < this._scale.left || x > this._scale.left + this._scale.width)
      return -1;
    const { submitted, ended } = this._data.attempts;
    const until = this._scale.at(x + NEAR_PX),
      exact = this._scale.at(x);
    let found = -1;
    for (let at = firstAfter(lanes[place], ended, this._scale.at(x - NEAR_PX)); at < lanes[place].length; at++) {
      const one = lanes[place][at];
      if (submitted[one] > until) break;
      if (
        this._scale.x(ended[one]) - this._scale.x(submitted[one]) > 2 * NEAR_PX &&
        submitted[one] <= exact &&
        exact <= ended[one]
      )
        return one;
      if (found < 0 || classes[one] > classes[found]) found = one;
    }
    return found;
  }

  /** @param {number} x @param {number} y */
  _waitAt(x, y) {
    const found = this._painter.drawnWaits.find(
      (one) => x >= one.x - 2 && x <= one.x + one.width + 2 && y >= one.y - 1 && y <= one.y + 11,
    );
    return found ? found.wait : -1;
  }

  /** @param {number} x @param {number} y */
  _jobAt(x, y) {
    const one = this._attemptAt(x, y);
    if (one >= 0) return this._data.attempts.job[one];
    const wait = this._waitAt(x, y);
    return wait >= 0 ? this._data.waits.job[wait] : -1;
  }

  /** @param {number} one @param {PointerEvent | null} event */
  _hover(one, event) {
    if (one !== this._painter.hovered) {
      this._painter.hovered = one;
      this._wanted();
    }
    const wait = event && one < 0 ? this._waitAt(event.offsetX, event.offsetY) : -1;
    if (event && one >= 0) this._showTip(this._aboutAttempt(one), event.clientX, event.clientY);
    else if (event && wait >= 0) this._showTip(this._aboutWait(wait), event.clientX, event.clientY);
    else this._hideTip();
  }

  /** @param {number} one */
  _aboutAttempt(one) {
    const { attempts, jobs } = this._data;
    const job = attempts.job[one];
    const counted = attempts.counted[one];
    const kind =
      {
        completed: "ok",
        retried: attempts.how[one].startsWith("timeout") ? "timeout" : "failed",
        stopped: "cancelled",
      }[counted] ?? counted;
    const how = attempts.how[one] === "exit 0" ? "ok" : attempts.how[one];
    const where = attempts.where[one] || `worker ${attempts.lane[one]}`;
    return [
      h(
        "div",
        {},
        icon(kind),
        " ",
        h("b", {}, this._data.name(job)),
        h("span", { class: "dim" }, ` try ${attempts.attempt[one]} of ${jobs.max_attempts[job]}, ${where}`),
      ),
      h(
        "div",
        {},
        how,
        h(
          "span",
          { class: "dim" },
          ` ${clock(this._data.wall(attempts.began[one]))} – ${clock(this._data.wall(attempts.ended[one]))}, ran ${duration(attempts.ended[one] - attempts.began[one])}, waited ${duration(attempts.waited[one])} in the queue`,
        ),
      ),
      attempts.last[one] && h("div", { class: "mono dim" }, attempts.last[one]),
      h("div", { class: "dim" }, `${counted === "retried" ? "then tried again · " : ""}click: open job`),
    ];
  }

  /** @param {number} wait */
  _aboutWait(wait) {
    const { waits } = this._data;
    return [
      h(
        "div",
        {},
        icon("waiting"),
        " ",
        h("b", {}, this._data.name(waits.job[wait])),
        h("span", { class: "dim" }, ` before try ${waits.attempt[wait]}`),
      ),
      h(
        "div",
        { class: "dim" },
        `waited ${duration(waits.until[wait] - waits.since[wait])} to retry · click: open job`,
      ),
    ];
  }

  /** @param {(Node | "" | false)[]} lines @param {number} x @param {number} y */
  _showTip(lines, x, y) {
    const tip = byId("tip");
    tip.replaceChildren(...lines.filter((line) => line instanceof Node));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - box.width - 8))}px`;
    tip.style.top = `${y + 20 + box.height > innerHeight ? Math.max(8, y - box.height - 12) : y + 20}px`;
  }

  _hideTip() {
    byId("tip").hidden = true;
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    const { lanes } = this._painter;
    const { submitted, ended, lane, job } = this._data.attempts;
    const current = this._cursor;
    let next = -1;
    if (event.key === "Enter" && current >= 0) {
      event.preventDefault();
      return this._open(job[current]);
    }
    if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    event.stopPropagation();
    if (current < 0) next = lanes.find((one) => one.length)?.[0] ?? -1;
    else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      const ones = lanes[lane[current] - 1];
      next = ones[ones.indexOf(current) + (event.key === "ArrowRight" ? 1 : -1)] ?? current;
    } else {
      const step = event.key === "ArrowDown" ? 1 : -1;
      for (let place = lane[current] - 1 + step; place >= 0 && place < lanes.length; place += step) {
        if (!lanes[place].length) continue;
        next = lanes[place][Math.min(lanes[place].length - 1, firstAfter(lanes[place], ended, submitted[current]))];
        break;
      }
    }
    if (next < 0) return;
    this._cursor = next;
    this._painter.hovered = next;
    this._scale.reveal(submitted[next], ended[next]);
    this._wanted();
    const canvas = this._canvas;
    if (!canvas) return;
    const box = canvas.getBoundingClientRect();
    this._draw();
    this._showTip(
      this._aboutAttempt(next),
      box.left + this._scale.x(submitted[next]),
      box.top + this._painter.yOf(this._painter.place(next)),
    );
    say(
      `${this._data.name(job[next])}, worker ${lane[next]}, ${this._data.attempts.how[next]}, ran ${duration(ended[next] - this._data.attempts.began[next])}`,
    );
  }
}
