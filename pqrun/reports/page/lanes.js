/* The lanes of the timeline: which attempts are in each, and how bad each attempt was. */

/** @typedef {import("./run_data.js").RunData} RunData */

/** The classes of bars. Where many fall on one pixel, the last of these is seen. */
export const OK = 0,
  RUNNING = 1,
  STOPPED = 2,
  RETRIED = 3,
  TIMEOUT = 4,
  FAILED = 5;
export const CLASSES = new Map([
  ["completed", OK],
  ["running", RUNNING],
  ["stopped", STOPPED],
  ["retried", RETRIED],
  ["timeout", TIMEOUT],
  ["failed", FAILED],
]);

/**
 * Return the attempts of each lane in order of time.
 * @param {RunData} data
 */
export function lanesOf(data) {
  const { lane, submitted } = data.attempts;
  /** @type {number[][]} */
  const found = Array.from({ length: data.head.lanes }, () => []);
  lane.forEach((number, one) => found[Math.max(0, number - 1)]?.push(one));
  return found.map((ones) => Int32Array.from(ones.sort((one, other) => submitted[one] - submitted[other])));
}

/**
 * Return the first place in a lane whose attempt ends after a moment.
 * @param {Int32Array} lane
 * @param {Float64Array} ended
 * @param {number} at
 */
export function firstAfter(lane, ended, at) {
  let low = 0,
    high = lane.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ended[lane[middle]] < at) low = middle + 1;
    else high = middle;
  }
  return low;
}
