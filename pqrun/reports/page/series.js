/* Numbers over time: how many jobs were queued and running at each moment, and how many ended. */

/** @typedef {import("./run_data.js").RunData} RunData */

/** A number that changes at some moments. */
export class Steps {
  /**
   * @param {number[]} ups the times at which the number grows by one
   * @param {number[]} downs the times at which it shrinks by one
   */
  constructor(ups, downs) {
    const rising = Float64Array.from(ups).sort();
    const falling = Float64Array.from(downs).sort();
    const times = new Float64Array(rising.length + falling.length);
    const values = new Int32Array(times.length);
    let up = 0,
      down = 0;
    for (let place = 0; place < times.length; place++) {
      // Of changes at one moment the falls come first: a slot that changes hands is one slot.
      if (down < falling.length && !(rising[up] < falling[down])) times[place] = falling[down++];
      else times[place] = rising[up++];
      values[place] = up - down;
    }
    this.times = times;
    this.values = values;
    this.highest = values.reduce((most, value) => Math.max(most, value), 0);
  }

  /**
   * Have other values from the first of some moments on.
   * @param {number[]} times
   * @param {number[]} values
   */
  continueWith(times, values) {
    const kept = after(this.times, times[0]);
    this.times = Float64Array.from([...this.times.subarray(0, kept), ...times]);
    this.values = Int32Array.from([...this.values.subarray(0, kept), ...values]);
    this.highest = this.values.reduce((most, value) => Math.max(most, value), 0);
  }

  /** Return the number at a moment. @param {number} at */
  at(at) {
    const place = after(this.times, at);
    return place ? Math.max(0, this.values[place - 1]) : 0;
  }

  /**
   * Return the highest number in each of `count` equal parts of a span.
   * @param {number} from
   * @param {number} to
   * @param {number} count
   */
  peaks(from, to, count) {
    const found = new Float64Array(count);
    let place = after(this.times, from);
    let value = place ? this.values[place - 1] : 0;
    for (let part = 0; part < count; part++) {
      const end = from + ((part + 1) * (to - from)) / count;
      let most = value;
      while (place < this.times.length && this.times[place] <= end) {
        value = this.values[place++];
        if (value > most) most = value;
      }
      found[part] = Math.max(0, most);
    }
    return found;
  }

  /** Return the mean over a span. @param {number} from @param {number} to */
  mean(from, to) {
    let sum = 0,
      since = from;
    let value = this.at(from);
    for (let place = after(this.times, from); place < this.times.length && this.times[place] < to; place++) {
      sum += value * (this.times[place] - since);
      since = this.times[place];
      value = this.values[place];
    }
    return to > from ? (sum + value * (to - since)) / (to - from) : 0;
  }
}

/**
 * Return how many of the sorted times are not after a moment.
 * @param {Float64Array} times
 * @param {number} at
 */
export function after(times, at) {
  let low = 0,
    high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Return the depth of the queue for each priority, from low to critical.
 * @param {RunData} data
 */
export function queueDepths(data) {
  const { jobs, attempts, first } = data;
  const ups = [[], [], [], []].map(() => /** @type {number[]} */ ([]));
  const downs = [[], [], [], []].map(() => /** @type {number[]} */ ([]));
  for (let one = 0; one < attempts.job.length; one++) {
    ups[attempts.priority[one]].push(attempts.submitted[one] - attempts.waited[one]);
    downs[attempts.priority[one]].push(attempts.submitted[one]);
  }
  for (let job = 0; job < data.count; job++) {
    const last = first[job + 1] - 1;
    const left = last >= first[job] ? attempts.submitted[last] : -Infinity;
    if (jobs.queued[job] > left || (jobs.queued[job] === left && jobs.state[job] === "queued")) {
      ups[jobs.priority[job]].push(jobs.queued[job]); // it left the queue without an attempt, or is there still
      downs[jobs.priority[job]].push(jobs.ended[job] > jobs.queued[job] ? jobs.ended[job] : data.end);
    }
  }
  const found = ups.map((up, priority) => new Steps(up, downs[priority]));
  if (data.samples.length)
    found.forEach((steps, priority) =>
      steps.continueWith(
        data.samples.map((one) => one.at),
        data.samples.map((one) => one.queued[priority]),
      ),
    );
  return found;
}

/** Return how many attempts ran at each moment. @param {RunData} data */
export function running(data) {
  const found = new Steps([...data.attempts.submitted], [...data.attempts.ended]);
  if (data.samples.length)
    found.continueWith(
      data.samples.map((one) => one.at),
      data.samples.map((one) => one.running),
    );
  return found;
}

/**
 * Return the sorted times at which jobs ended, those that ended well apart.
 * @param {RunData} data
 */
export function ends(data) {
  /** @type {number[]} */
  const well = [];
  /** @type {number[]} */
  const badly = [];
  for (let one = 0; one < data.attempts.job.length; one++) {
    const counted = data.attempts.counted[one];
    if (counted !== "running") (counted === "completed" ? well : badly).push(data.attempts.ended[one]);
  }
  return {
    well: sampled(Float64Array.from(well).sort(), data, "well"),
    badly: sampled(Float64Array.from(badly).sort(), data, "badly"),
  };
}

/**
 * Return sorted times. Those that are only known as numbers are spread evenly between the moments of counting.
 * @param {Float64Array} times
 * @param {RunData} data
 * @param {"well" | "badly"} kind
 */
function sampled(times, { samples }, kind) {
  if (!samples.length) return times;
  const found = [...times.subarray(0, after(times, samples[0].at))];
  let since = found.at(-1) ?? 0;
  for (const { at, [kind]: until } of samples) {
    const before = found.length;
    const step = (at - since) / (until - before);
    for (let one = before; one < until; one++) found.push(since + step * (one + 1 - before));
    since = at;
  }
  return Float64Array.from(found);
}
