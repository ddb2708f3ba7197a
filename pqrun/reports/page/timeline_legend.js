/* The legend of the timeline. */

import { h, s } from "./dom.js";

/** @typedef {import("./run_data.js").RunData} RunData */

/**
 * Return the meanings of the colours and shapes that the timeline of this run has.
 * @param {RunData} data
 * @param {boolean} hasPath whether a critical path is marked
 */
export function legend(data, hasPath) {
  const counted = new Set(data.attempts.counted);
  const box = (/** @type {string} */ colour) =>
    s(
      "svg",
      { viewBox: "0 0 15 10", "aria-hidden": "true" },
      s("rect", { width: 15, height: 10, rx: 2, fill: `var(--${colour})` }),
    );
  const outline = (/** @type {string} */ colour, /** @type {string} */ dashes, /** @type {boolean} */ hatched) =>
    s(
      "svg",
      { viewBox: "0 0 15 10", "aria-hidden": "true" },
      s("rect", {
        x: 0.5,
        y: 0.5,
        width: 14,
        height: 9,
        rx: 2,
        fill: "none",
        stroke: `var(--${colour})`,
        "stroke-dasharray": dashes || null,
      }),
      hatched && s("path", { d: "M2 9l6-8M6 9l6-8M10 9l4-6", stroke: `var(--${colour})` }),
    );
  const path = s(
    "svg",
    { viewBox: "0 0 15 10", "aria-hidden": "true" },
    s("rect", { y: 4, width: 15, height: 3, fill: "var(--accent)" }),
  );
  /** @type {[boolean, SVGElement, string][]} */
  const all = [
    [counted.has("completed"), box("ok-area"), "ok"],
    [counted.has("failed"), box("failed-area"), "failed"],
    [counted.has("timeout"), box("timeout-area"), "timeout"],
    [counted.has("running"), box("running-area"), "running"],
    [counted.has("stopped"), outline("strong-line", "3 2", false), "stopped"],
    [counted.has("retried"), outline("failed", "", true), "failed, then retried"],
    [data.waits.job.length > 0, outline("waiting", "3 2", false), "waiting to retry"],
    [hasPath, path, "critical path"],
  ];
  return all.filter(([is]) => is).map(([, sign, text]) => h("span", {}, sign, text));
}
