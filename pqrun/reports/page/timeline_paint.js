/* The drawing of the timeline on its canvas: lanes of attempts, waits for a retry, and numbers over time. */

import { duration, tick } from "./format.js";
import { groupOf } from "./job_filter.js";
import { CLASSES, FAILED, RETRIED, RUNNING, STOPPED, TIMEOUT, firstAfter, lanesOf } from "./lanes.js";
import { ChartPainter } from "./timeline_charts.js";

/** @typedef {import("./run_data.js").RunData} RunData */
/** @typedef {import("./timeline_scale.js").Scale} Scale */

const COLOURS = ["ok-area", "running-area", "line", "failed-area", "timeout-area", "failed-area"];
const MAX_LANES_HEIGHT = 900,
  AXIS = 22,
  WAIT_ROW = 15,
  MAX_WAIT_ROWS = 5,
  MAX_WAITS_PACKED = 400,
  LETTER_PX = 6.5;
const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif';
const MERGED_BELOW_PX = 2,
  MIN_ROUNDED_PX = 9;

export class TimelinePainter {
  /**
   * @param {RunData} data
   * @param {Scale} scale
   * @param {Set<number>} critical
   */
  constructor(data, scale, critical) {
    this._data = data;
    this._scale = scale;
    this._critical = critical;
    this.lanes = lanesOf(data);
    this.classes = Uint8Array.from(data.attempts.counted, (counted) => CLASSES.get(counted) ?? STOPPED);
    this._wasTimeout = data.attempts.how.map((how) => how.startsWith("timeout"));
    const order = [...data.waits.job.keys()].sort((one, other) => data.waits.since[one] - data.waits.since[other]);
    this._waits = order;
    /**
     * The waits as drawn, so that the pointer finds them.
     * @type {{x: number, y: number, width: number, wait: number}[]}
     */
    this.drawnWaits = [];
    /** @type {Map<string, number>} */
    this._widths = new Map();
    this.marked = -1;
    this.hovered = -1;
    /** @type {{[name: string]: string}} */
    this._colours = {};
    this.lane = { height: 21, gap: 3, top: AXIS + 4 };
    this.narrow = false;
    this._charts = new ChartPainter(data, scale, (name) => this._colour(name));
  }

  /** Read the colours of the theme anew at the next drawing. */
  forgetColours() {
    this._colours = {};
  }

  /** @param {string} name */
  _colour(name) {
    return (this._colours[name] ??= getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  }

  /**
   * Lay out for a width, and return the height.
   * @param {number} width
   */
  layOut(width) {
    this.narrow = width < 600;
    this._scale.left = this.narrow ? 44 : 74;
    const right = this.narrow ? 4 : 92;
    this._scale.width = Math.max(50, width - this._scale.left - right);
    const count = Math.max(1, this.lanes.length);
    const room = Math.min(24, MAX_LANES_HEIGHT / count);
    const most = this.narrow ? 15 : 21;
    const height = room >= 8 ? Math.min(most, Math.floor(room) - 3) : Math.max(1, Math.floor(room));
    this.lane = { height, gap: room >= 8 ? 3 : room - height, top: AXIS + 4 };
    this._bottomOfLanes = this.lane.top + count * (height + this.lane.gap);
    this._waitRows = this._waits.length > MAX_WAITS_PACKED ? 1 : this._rowsOfWaits();
    this._waitsTop = this._bottomOfLanes + 6;
    this._chartsTop = this._waitsTop + (this._waitRows ? this._waitRows * WAIT_ROW + 8 : 0) + 8;
    return this._chartsTop + (this.narrow ? 110 : 142);
  }

  /** Return how many rows the waits take if all of the run is in sight, so that zooming moves nothing. */
  _rowsOfWaits() {
    const { since, until } = this._data.waits;
    const pixels = this._scale.width / this._data.end;
    /** @type {number[]} the ends of rows in which waits with their labels follow each other */
    const ends = [];
    for (const wait of this._waits) {
      const row = ends.findIndex((end) => end < since[wait] * pixels);
      const label = this.narrow ? 0 : 13 + LETTER_PX * this._waitLabel(wait).length;
      ends[row < 0 ? ends.length : row] = Math.min(until[wait], this._data.end) * pixels + label;
      if (ends.length === MAX_WAIT_ROWS) break;
    }
    return ends.length;
  }

  /** @param {number} wait */
  _waitLabel(wait) {
    const { job, since, until, attempt } = this._data.waits;
    return `${this._data.name(job[wait])}, ${duration(until[wait] - since[wait])}, try ${attempt[wait]}`;
  }

  /** Return the top of a lane's bars. @param {number} lane */
  yOf(lane) {
    return this.lane.top + lane * (this.lane.height + this.lane.gap);
  }

  /**
   * Draw everything.
   * @param {CanvasRenderingContext2D} to
   * @param {number} width
   * @param {number} height
   */
  draw(to, width, height) {
    to.clearRect(0, 0, width, height);
    to.font = FONT;
    to.textBaseline = "middle";
    this._drawAxis(to, height);
    to.save();
    to.beginPath();
    to.rect(this._scale.left - 1, 0, this._scale.width + 2, height);
    to.clip();
    this.lanes.forEach((lane, place) => this._drawLane(to, lane, this.yOf(place)));
    this._drawCritical(to);
    this._drawMarked(to);
    this._drawWaits(to);
    to.restore();
    this._drawNames(to);
    this._charts.draw(to, this._chartsTop ?? 0, this.narrow);
  }

  /** @param {CanvasRenderingContext2D} to @param {number} height */
  _drawAxis(to, height) {
    const { moments, step } = this._scale.ticks((at) => this._data.wall(at));
    to.textAlign = "left";
    let free = -Infinity;
    for (const moment of moments) {
      const x = Math.round(this._scale.x(moment));
      to.fillStyle = this._colour("grid");
      to.fillRect(x, AXIS, 1, height - AXIS - 4);
      const text = tick(this._data.wall(moment), step);
      const end = this._scale.left + this._scale.width + (this.narrow ? 4 : 60);
      if (x < free || x + this._width(to, text) > end) continue;
      to.fillStyle = this._colour("dim");
      to.fillText(text, x, 10);
      free = x + this._width(to, text) + 12;
    }
    to.fillRect(this._scale.left, 0, 0, 0);
    to.fillStyle = this._colour("line");
    to.fillRect(this._scale.left, (this._bottomOfLanes ?? 0) + 1, this._scale.width, 1);
  }

  /**
   * Draw the attempts of one lane. Those below two pixels are drawn together, the worst of a pixel on top.
   * @param {CanvasRenderingContext2D} to
   * @param {Int32Array} lane
   * @param {number} y
   */
  _drawLane(to, lane, y) {
    const { submitted, ended } = this._data.attempts;
    const { from, to: until } = this._scale;
    let cell = -1,
      worst = -1,
      start = -1,
      end = -1,
      kind = -1;
    const flushRun = () => {
      if (kind < 0) return;
      to.fillStyle = this._colour(COLOURS[kind]);
      to.fillRect(start, y, end - start, this.lane.height);
      kind = -1;
    };
    const flushCell = () => {
      if (worst < 0) return;
      if (kind === worst && end === cell) end = cell + 1;
      else {
        flushRun();
        start = cell;
        end = cell + 1;
        kind = worst;
      }
      worst = -1;
    };
    for (let place = firstAfter(lane, ended, from); place < lane.length; place++) {
      const one = lane[place];
      if (submitted[one] > until) break;
      const left = this._scale.x(submitted[one]),
        right = this._scale.x(ended[one]);
      if (right - left < MERGED_BELOW_PX) {
        const x = Math.floor(left);
        if (x !== cell) {
          flushCell();
          cell = x;
        }
        if (this.classes[one] > worst) worst = this.classes[one];
      } else {
        flushCell();
        flushRun();
        this._drawBar(to, one, left, right, y);
      }
    }
    flushCell();
    flushRun();
  }

  /**
   * @param {CanvasRenderingContext2D} to
   * @param {number} one
   * @param {number} left
   * @param {number} right
   * @param {number} y
   */
  _drawBar(to, one, left, right, y) {
    const height = this.lane.height,
      kind = this.classes[one];
    const x = Math.max(left, this._scale.left - 4),
      width = Math.max(1, Math.min(right, this._scale.left + this._scale.width + 4) - x - 1);
    const retried = kind === RETRIED;
    const colour = this._colour(retried && this._wasTimeout[one] ? "timeout-area" : COLOURS[kind]);
    if (width < MIN_ROUNDED_PX && kind !== STOPPED && !retried) {
      // thousands of these may be in sight
      to.fillStyle = colour;
      to.fillRect(x, y, width, height);
      return;
    }
    to.beginPath();
    if (height >= 8 && width >= 4) to.roundRect(x, y, width, height, 2);
    else to.rect(x, y, width, height);
    if (retried && height >= 6) {
      to.save();
      to.clip();
      to.fillStyle = this._colour("page");
      to.fillRect(x, y, width, height);
      to.strokeStyle = colour;
      to.lineWidth = 1.5;
      to.beginPath();
      for (let at = x - height - ((x - height) % 6); at < x + width; at += 6) {
        to.moveTo(at, y + height);
        to.lineTo(at + height, y);
      }
      to.stroke();
      to.restore();
      to.strokeStyle = colour;
      to.lineWidth = 1;
      to.strokeRect(x + 0.5, y + 0.5, Math.max(0, width - 1), height - 1);
    } else if (kind === STOPPED && height >= 6) {
      to.fillStyle = this._colour("raised");
      to.fill();
      to.strokeStyle = this._colour("strong-line");
      to.setLineDash([3, 2]);
      to.lineWidth = 1;
      to.stroke();
      to.setLineDash([]);
    } else {
      to.fillStyle = colour;
      to.fill();
    }
    if (height >= 13 && width >= 22 && !this.narrow) this._drawLabel(to, one, x, y, width, retried);
    else if (height >= 13 && width >= 9 && this.narrow && kind >= TIMEOUT) {
      to.fillStyle = this._colour("on-solid");
      to.textAlign = "center";
      to.fillText(kind === FAILED ? "×" : "t", x + width / 2, y + height / 2 + 0.5);
    }
  }

  /**
   * Draw a name on a bar: the whole one, else the part before the brackets, else none.
   * @param {CanvasRenderingContext2D} to
   * @param {number} one
   * @param {number} x
   * @param {number} y
   * @param {number} width
   * @param {boolean} retried
   */
  _drawLabel(to, one, x, y, width, retried) {
    const name = this._data.name(this._data.attempts.job[one]);
    const short = groupOf(name).split("/")[0];
    const label = [name, short].find((text) => text.length < 200 && this._width(to, text) <= width - 8);
    if (!label) return;
    const kind = this.classes[one];
    if (retried) {
      to.fillStyle = this._colour("page");
      to.fillRect(x + 3, y + 4, this._width(to, label) + 2, this.lane.height - 8);
    }
    to.fillStyle = this._colour(
      retried || kind === STOPPED || kind === RUNNING ? "text" : kind >= TIMEOUT ? "on-solid" : "on-area",
    );
    to.textAlign = "left";
    to.fillText(label, x + 4, y + this.lane.height / 2 + 0.5);
  }

  /** @param {CanvasRenderingContext2D} to @param {string} text */
  _width(to, text) {
    let found = this._widths.get(text);
    if (found === undefined) {
      found = to.measureText(text).width;
      if (this._widths.size > 5000) this._widths.clear();
      this._widths.set(text, found);
    }
    return found;
  }

  /** Underline the jobs of the critical path. @param {CanvasRenderingContext2D} to */
  _drawCritical(to) {
    const { first, attempts } = this._data;
    to.fillStyle = this._colour("accent");
    const thick = Math.min(3, Math.max(1, this.lane.height / 4));
    for (const job of this._critical) {
      for (let one = first[job]; one < first[job + 1]; one++) {
        if (attempts.ended[one] < this._scale.from || attempts.submitted[one] > this._scale.to) continue;
        const x = this._scale.x(attempts.submitted[one]);
        to.fillRect(
          x,
          this.yOf(this.place(one)) + this.lane.height - thick,
          Math.max(1, this._scale.x(attempts.ended[one]) - x - 1),
          thick,
        );
      }
    }
  }

  /** Return the place of an attempt's lane. @param {number} one */
  place(one) {
    return Math.max(0, this._data.attempts.lane[one] - 1);
  }

  /** @param {CanvasRenderingContext2D} to */
  _drawMarked(to) {
    const { first, attempts } = this._data;
    const outline = (/** @type {number} */ one, /** @type {string} */ colour) => {
      const x = this._scale.x(attempts.submitted[one]);
      to.strokeStyle = this._colour(colour);
      to.lineWidth = 2;
      to.strokeRect(
        x - 1,
        this.yOf(this.place(one)) - 1,
        Math.max(3, this._scale.x(attempts.ended[one]) - x + 1),
        this.lane.height + 2,
      );
    };
    if (this.marked >= 0)
      for (let one = first[this.marked]; one < first[this.marked + 1]; one++) outline(one, "accent");
    if (this.hovered >= 0) outline(this.hovered, "text");
  }

  /** @param {CanvasRenderingContext2D} to */
  _drawWaits(to) {
    const { waits } = this._data;
    this.drawnWaits = [];
    to.strokeStyle = this._colour("waiting");
    to.lineWidth = 1;
    to.textAlign = "left";
    const rows = new Array(this._waitRows ?? 1).fill(-Infinity);
    let last = -1;
    for (const wait of this._waits) {
      const until = Math.min(waits.until[wait], this._data.end);
      if (until < this._scale.from || waits.since[wait] > this._scale.to) continue;
      const x = this._scale.x(waits.since[wait]),
        width = Math.max(2, this._scale.x(until) - x);
      if (this._waits.length > MAX_WAITS_PACKED && Math.floor(x) === last) continue;
      last = Math.floor(x);
      let row = rows.findIndex((free) => free < x);
      if (row < 0) row = rows.length - 1;
      const y = (this._waitsTop ?? 0) + row * WAIT_ROW;
      to.setLineDash([3, 2]);
      to.strokeRect(Math.round(x) + 0.5, y + 0.5, width, 9);
      to.setLineDash([]);
      this.drawnWaits.push({ x, y, width, wait });
      const label = this._waitLabel(wait);
      rows[row] = x + width + 4;
      const fits =
        !this.narrow &&
        this._waits.length <= MAX_WAITS_PACKED &&
        x + width + 6 + this._width(to, label) < this._scale.left + this._scale.width;
      if (fits && label.length < 120) {
        to.fillStyle = this._colour("dim");
        to.fillText(label, x + width + 5, y + 5.5);
        rows[row] += this._width(to, label) + 8;
      }
    }
  }

  /** @param {CanvasRenderingContext2D} to */
  _drawNames(to) {
    to.textAlign = "left";
    to.fillStyle = this._colour("dim");
    const every = Math.ceil(14 / (this.lane.height + this.lane.gap));
    this.lanes.forEach((_, place) => {
      if (place % every) return;
      to.fillText(this.narrow ? `w${place + 1}` : `worker ${place + 1}`, 0, this.yOf(place) + this.lane.height / 2);
    });
    if (this._waits.length) to.fillText(this.narrow ? "wait" : "retry waits", 0, (this._waitsTop ?? 0) + 6);
  }
}
