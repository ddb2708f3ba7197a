/* The attempts of one job on a line of time. */

import { s } from "./dom.js";

/** @typedef {import("./run_data.js").RunData} RunData */

/**
 * Return the attempts of a job, its waits and its time in the queue on a line of time.
 * @param {RunData} data
 * @param {number} job
 */
export function attemptStrip(data, job) {
  const { attempts, first, waits } = data;
  const from = attempts.submitted[first[job]] - attempts.waited[first[job]];
  const to = attempts.ended[first[job + 1] - 1];
  const x = (/** @type {number} */ at) => 4 + (592 * (at - from)) / Math.max(1, to - from);
  const strip = s(
    "svg",
    {
      class: "strip",
      viewBox: "0 0 600 34",
      role: "img",
      "aria-label": "The attempts over time",
      preserveAspectRatio: "none",
    },
    s(
      "defs",
      {},
      ...["failed", "timeout"].map((colour) =>
        s(
          "pattern",
          {
            id: `hatch-${colour}`,
            width: 5,
            height: 5,
            patternUnits: "userSpaceOnUse",
            patternTransform: "rotate(45)",
          },
          s("rect", { width: 1.6, height: 5, fill: `var(--${colour})` }),
        ),
      ),
    ),
    s("line", { x1: x(from), x2: x(to), y1: 17, y2: 17, stroke: "var(--strong-line)" }),
  );
  for (let one = 0; one < waits.job.length; one++) {
    if (waits.job[one] !== job) continue;
    const since = x(waits.since[one]);
    strip.append(
      s("rect", {
        x: since,
        y: 12,
        width: Math.max(1, x(waits.until[one]) - since),
        height: 10,
        fill: "var(--page)",
        stroke: "var(--waiting)",
        "stroke-dasharray": "3 2",
      }),
    );
  }
  for (let one = first[job]; one < first[job + 1]; one++) {
    const retried = attempts.counted[one] === "retried";
    const colour =
      { completed: "ok-area", timeout: "timeout-area", failed: "failed-area" }[attempts.counted[one]] ?? "strong-line";
    const hatch = attempts.how[one].startsWith("timeout") ? "timeout" : "failed";
    const began = x(attempts.began[one]);
    strip.append(
      s("rect", {
        x: began,
        y: 7,
        width: Math.max(2, x(attempts.ended[one]) - began),
        height: 20,
        rx: 2,
        fill: retried ? `url(#hatch-${hatch})` : `var(--${colour})`,
        stroke: retried ? `var(--${hatch})` : "none",
      }),
    );
  }
  return strip;
}
