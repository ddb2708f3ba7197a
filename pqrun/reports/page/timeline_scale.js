/* The scale of the timeline: which span of time is shown, and where its marks are. */

const STEPS_MS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
  900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 21_600_000, 43_200_000, 86_400_000,
];
const MIN_SPAN_MICROS = 1000;

/**
 * Return the smallest round step that is not below a number of milliseconds.
 * @param {number} least
 */
export function roundStep(least) {
  return STEPS_MS.find((step) => step >= least) ?? Math.ceil(least / 86_400_000) * 86_400_000;
}

/** The part of the run that is in sight, in microseconds since the run began. */
export class Scale {
  /** @param {number} end the end of the run */
  constructor(end) {
    this.end = end;
    this.from = 0;
    this.to = end;
    this.left = 0;
    this.width = 1;
  }

  get isFit() {
    return this.from === 0 && this.to === this.end;
  }

  /** Show the whole run. */
  fit() {
    this.from = 0;
    this.to = this.end;
  }

  /** Return the place of a moment in pixels. @param {number} at */
  x(at) {
    return this.left + (this.width * (at - this.from)) / (this.to - this.from);
  }

  /** Return the moment at a place. @param {number} x */
  at(x) {
    return this.from + ((x - this.left) * (this.to - this.from)) / this.width;
  }

  /**
   * Zoom by a factor, so that one moment stays where it is.
   * @param {number} factor
   * @param {number} [at]
   */
  zoom(factor, at = (this.from + this.to) / 2) {
    const span = Math.min(this.end, Math.max(MIN_SPAN_MICROS, (this.to - this.from) / factor));
    const share = (at - this.from) / (this.to - this.from);
    this._show(at - share * span, span);
  }

  /** Move by a share of what is in sight. @param {number} share */
  pan(share) {
    const span = this.to - this.from;
    this._show(this.from + share * span, span);
  }

  /** Move so that a span is in sight. @param {number} since @param {number} until */
  reveal(since, until) {
    const span = this.to - this.from;
    if (since < this.from || until > this.to) this._show((since + until) / 2 - span / 2, span);
  }

  /** @param {number} from @param {number} span */
  _show(from, span) {
    this.from = Math.max(0, Math.min(this.end - span, from));
    this.to = Math.min(this.end, this.from + span);
  }

  /**
   * Return the round moments of the axis, in microseconds, and the step between them in milliseconds.
   * @param {(micros: number) => number} wall
   */
  ticks(wall) {
    const span = (this.to - this.from) / 1000;
    const step = roundStep((span * 70) / Math.max(70, this.width));
    const began = wall(0);
    const zone = new Date(began).getTimezoneOffset() * 60_000; // so that marks are at round local times
    /** @type {number[]} */
    const found = [];
    for (
      let ms = Math.ceil((wall(this.from) - zone) / step) * step + zone;
      ms <= wall(this.to) && found.length < 200;
      ms += step
    ) {
      found.push((ms - began) * 1000);
    }
    return { moments: found, step };
  }
}
