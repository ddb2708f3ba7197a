/* The charts below the timeline: the queue by priority, the running attempts, and the ends over time. */

import { duration } from "./format.js";
import { PRIORITIES } from "./run_data.js";
import { after, ends, queueDepths, running } from "./series.js";
import { roundStep } from "./timeline_scale.js";

/** @typedef {import("./run_data.js").RunData} RunData */
/** @typedef {import("./timeline_scale.js").Scale} Scale */
/** @typedef {import("./series.js").Steps} Steps */

export class ChartPainter {
  /**
   * @param {RunData} data
   * @param {Scale} scale
   * @param {(name: string) => string} colour returns a colour of the theme
   */
  constructor(data, scale, colour) {
    this._data = data;
    this._scale = scale;
    this._colour = colour;
    this._queues = queueDepths(data);
    this._running = running(data);
    this._ends = ends(data);
    this._queuePeak = sumPeak(this._queues);
    this.narrow = false;
  }

  /**
   * Draw all charts below each other.
   * @param {CanvasRenderingContext2D} to
   * @param {number} top
   * @param {boolean} narrow whether there is no room beside the charts
   */
  draw(to, top, narrow) {
    this.narrow = narrow;
    this._drawQueue(to, top, 44);
    top += 56;
    if (!this.narrow) {
      this._drawRunning(to, top, 20);
      top += 32;
    }
    this._drawEnds(to, top, 34);
  }

  /**
   * Draw how many jobs were queued, by priority.
   * @param {CanvasRenderingContext2D} to
   * @param {number} top
   * @param {number} height
   */
  _drawQueue(to, top, height) {
    const { left, width, from, to: until } = this._scale;
    const count = Math.max(2, Math.floor(width));
    const below = new Float64Array(count);
    this._queues.forEach((steps, priority) => {
      if (!steps.highest) return;
      const peaks = steps.peaks(from, until, count);
      to.beginPath();
      for (let x = 0; x < count; x++) {
        const y = top + height - (height * below[x]) / this._queuePeak;
        if (x) to.lineTo(left + x, y);
        else to.moveTo(left, y);
      }
      for (let x = count - 1; x >= 0; x--) {
        below[x] += peaks[x];
        to.lineTo(left + x, top + height - Math.min(height + 2, (height * below[x]) / this._queuePeak));
      }
      to.closePath();
      to.fillStyle = this._colour(PRIORITIES[priority]);
      to.fill();
    });
    to.fillStyle = this._colour("line");
    to.fillRect(left, top + height, width, 1);
    to.fillStyle = this._colour("dim");
    to.textAlign = "left";
    to.fillText(this.narrow ? "queue" : "queued", 0, top + 7);
    if (this.narrow) return;
    to.textAlign = "right";
    to.fillText(String(this._queuePeak), left - 6, top + 7);
    to.fillText("0", left - 6, top + height - 3);
    to.textAlign = "left";
    let y = top + 6;
    for (let priority = PRIORITIES.length - 1; priority >= 0; priority--) {
      if (!this._queues[priority].highest) continue;
      to.fillStyle = this._colour(PRIORITIES[priority]);
      to.fillRect(left + width + 12, y - 4, 9, 9);
      to.fillStyle = this._colour("dim");
      to.fillText(PRIORITIES[priority], left + width + 26, y + 0.5);
      y += 12;
    }
  }

  /**
   * @param {CanvasRenderingContext2D} to
   * @param {number} top
   * @param {number} height
   */
  _drawRunning(to, top, height) {
    const { left, width, from, to: until } = this._scale;
    const peaks = this._running.peaks(from, until, Math.max(2, Math.floor(width)));
    const most = Math.max(1, this._running.highest);
    to.beginPath();
    to.moveTo(left, top + height);
    peaks.forEach((value, x) => to.lineTo(left + x, top + height - (height * value) / most));
    to.lineTo(left + width, top + height);
    to.fillStyle = this._colour("grid");
    to.fill();
    to.strokeStyle = this._colour("strong-line");
    to.lineWidth = 1;
    to.beginPath();
    peaks.forEach((value, x) => to.lineTo(left + x, Math.round(top + height - (height * value) / most) + 0.5));
    to.stroke();
    to.fillStyle = this._colour("dim");
    to.textAlign = "left";
    to.fillText("running", 0, top + 6);
    const workers = this._data.head.run.workers || most;
    to.fillText(`${Math.round((100 * this._running.mean(from, until)) / workers)} % busy`, left + width + 12, top + 6);
    to.textAlign = "right";
    to.fillText(String(this._running.highest), left - 6, top + 6);
  }

  /**
   * Draw how many attempts ended in each part of the time.
   * @param {CanvasRenderingContext2D} to
   * @param {number} top
   * @param {number} height
   */
  _drawEnds(to, top, height) {
    const { left, width, from, to: until } = this._scale;
    const span = (until - from) / 1000;
    const step = roundStep((span * 14) / width) * 1000;
    const begin = Math.floor(from / step);
    const parts = Math.ceil(until / step) - begin;
    const count = (/** @type {Float64Array} */ times, /** @type {number} */ part) =>
      after(times, (begin + part + 1) * step) - after(times, (begin + part) * step);
    /** @type {[number, number][]} */
    const numbers = [];
    for (let part = 0; part < parts; part++)
      numbers.push([count(this._ends.well, part), count(this._ends.badly, part)]);
    const most = numbers.reduce((found, [well, badly]) => Math.max(found, well + badly), 1);
    numbers.forEach(([well, badly], part) => {
      const x = Math.max(left, this._scale.x((begin + part) * step)),
        end = Math.min(left + width, this._scale.x((begin + part + 1) * step));
      const high = (height * well) / most,
        bad = badly ? Math.max(2, (height * badly) / most) : 0;
      to.fillStyle = this._colour("ok-area");
      to.fillRect(x, top + height - high, Math.max(1, end - x - 1), high);
      to.fillStyle = this._colour("failed-area");
      to.fillRect(x, top + height - high - bad, Math.max(1, end - x - 1), bad);
    });
    const all =
      after(this._ends.well, until) -
      after(this._ends.well, from) +
      after(this._ends.badly, until) -
      after(this._ends.badly, from);
    const perSecond = span ? (all / span) * 1000 : 0;
    const [unit, rate] =
      perSecond >= 1 ? ["s", perSecond] : perSecond * 60 >= 1 ? ["min", perSecond * 60] : ["h", perSecond * 3600];
    to.fillStyle = this._colour("dim");
    to.textAlign = "left";
    to.fillText("ended", 0, top + 7);
    if (this.narrow) return;
    to.fillText(`${rate >= 100 ? Math.round(rate) : rate.toFixed(1)} / ${unit}`, left + width + 12, top + 7);
    to.textAlign = "right";
    to.fillText(String(most), left - 6, top + 7);
    to.textAlign = "left";
    to.fillText(`in ${duration(step)}`, 0, top + 20);
  }
}

/** Return the highest sum of several numbers over time. @param {Steps[]} all */
function sumPeak(all) {
  const count = 2000;
  const end = all.reduce((most, steps) => Math.max(most, steps.times.at(-1) ?? 0), 1);
  const sum = new Float64Array(count);
  for (const steps of all)
    steps.peaks(0, end, count).forEach((value, place) => {
      sum[place] += value;
    });
  return Math.max(1, ...sum);
}
