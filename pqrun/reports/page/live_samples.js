/* Numbers of a run over time, for the charts of a live page whose rows are behind the run. */

/** @typedef {import("./records.js").Head} Head */
/** @typedef {import("./records.js").Sample} Sample */

const MAX_SAMPLES = 2000;

/** The numbers of each event of a run while rows follow. */
export class LiveSamples {
  constructor() {
    /** @type {Sample[]} */
    this.all = [];
  }

  /** Take the numbers of a run, or forget all when the rows are complete. @param {Head} head */
  take(head) {
    if (!head.ahead || head.now === null) {
      this.all = [];
      return;
    }
    const { metrics } = head;
    const queued = metrics.queue_by_priority;
    this.all.push({
      at: (head.now - head.began) * 1e6,
      queued: [queued.low, queued.normal, queued.high, queued.critical],
      running: metrics.active_workers,
      well: metrics.jobs_completed,
      badly: metrics.jobs_failed + metrics.jobs_timeout + metrics.jobs_retried + metrics.attempts_stopped,
    });
    if (this.all.length > MAX_SAMPLES) this.all = this.all.filter((_, place) => place % 2 === 0);
  }
}
