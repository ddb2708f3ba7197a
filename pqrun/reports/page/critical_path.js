/* The critical path: the chain of jobs, each needing the one before, that takes the longest with endless workers. */

/** @typedef {import("./run_data.js").RunData} RunData */

/**
 * @typedef {object} CriticalPath
 * @property {number[]} jobs
 * @property {number} micros how long the run would have taken with endless workers
 * @property {number} edges how many needs the run has
 */

/**
 * Return for each job the positions of the jobs that it needs.
 * @param {RunData} data
 */
export function needsOf(data) {
  return data.jobs.needs.map((needs) => {
    /** @type {number[]} */
    const found = [];
    for (const [id] of needs) {
      const job = data.byId.get(id);
      if (job !== undefined) found.push(job);
    }
    return found;
  });
}

/**
 * Return how long each job took without the time in the queue: its attempts, and its waits for a retry.
 * @param {RunData} data
 */
function lengths(data) {
  const { attempts, waits } = data;
  const found = new Float64Array(data.count);
  for (let one = 0; one < attempts.job.length; one++) {
    found[attempts.job[one]] += Math.max(0, attempts.ended[one] - attempts.submitted[one]);
  }
  for (let one = 0; one < waits.job.length; one++) {
    found[waits.job[one]] += Math.max(0, Math.min(waits.until[one], data.end) - waits.since[one]);
  }
  return found;
}

/**
 * Return the jobs so that each stands behind those that it needs. A job in a circle is put anywhere.
 * @param {number[][]} needs
 */
export function inOrder(needs) {
  const order = new Int32Array(needs.length);
  const seen = new Uint8Array(needs.length);
  let filled = 0;
  for (let start = 0; start < needs.length; start++) {
    if (seen[start]) continue;
    const stack = [start];
    while (stack.length) {
      const job = stack[stack.length - 1];
      if (seen[job] === 0) {
        seen[job] = 1;
        for (const need of needs[job]) if (seen[need] === 0) stack.push(need);
      } else {
        stack.pop();
        if (seen[job] === 1) {
          seen[job] = 2;
          order[filled++] = job;
        }
      }
    }
  }
  return order;
}

/**
 * Return the critical path.
 * @param {RunData} data
 * @param {number[][]} needs
 * @returns {CriticalPath}
 */
export function criticalPath(data, needs) {
  const length = lengths(data);
  const until = new Float64Array(data.count);
  const before = new Int32Array(data.count).fill(-1);
  let last = -1;
  let edges = 0;
  for (const job of inOrder(needs)) {
    for (const need of needs[job]) {
      edges += 1;
      if (before[job] < 0 || until[need] > until[before[job]]) before[job] = need;
    }
    until[job] = length[job] + (before[job] < 0 ? 0 : until[before[job]]);
    if (last < 0 || until[job] > until[last]) last = job;
  }
  /** @type {number[]} */
  const jobs = [];
  for (let job = last; job >= 0 && jobs.length <= data.count; job = before[job]) jobs.push(job);
  return { jobs: jobs.reverse(), micros: last < 0 ? 0 : until[last], edges };
}
