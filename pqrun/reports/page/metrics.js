/* The ten metrics, each with what it means. */

import { h, sectionTitle } from "./dom.js";
import { duration } from "./format.js";

/** @typedef {import("./run_data.js").RunData} RunData */

/** @type {[string, string, string][]} */
const MEANINGS = [
  ["jobs_enqueued", "Enqueued", "entries into the queue: each job, and each retry again"],
  ["jobs_dequeued", "Dequeued", "attempts that left the queue for a worker"],
  ["jobs_completed", "Completed", "attempts that ended well"],
  ["jobs_failed", "Failed", "ended with another exit code or a signal, for good"],
  ["jobs_timeout", "Timeout", "ended at their limit, for good"],
  ["jobs_retried", "Retried", "attempts that failed and were tried again"],
  ["current_queue_size", "Queue size", "jobs in the queue at this moment"],
  ["active_workers", "Active workers", "busy at this moment"],
  ["average_wait_time", "Average wait", "from ready to start"],
  ["average_processing", "Average processing", "from start to end"],
];

/**
 * Fill the section of metrics.
 * @param {HTMLElement} section
 * @param {RunData} data
 */
export function fillMetrics(section, data) {
  const { metrics, run } = data.head;
  const list = h("dl", { class: "numbers" });
  for (const [name, title, meaning] of MEANINGS) {
    const value = metrics[name];
    const isTime = name.startsWith("average");
    let text = isTime ? duration(value * 1e6) : String(value);
    let means = meaning;
    if (name === "active_workers" && run.workers !== null) text += ` / ${run.workers}`;
    if (name === "average_wait_time" && metrics.oldest_wait)
      means += `; longest at this moment ${duration(metrics.oldest_wait * 1e6)}`;
    if (name === "average_processing") {
      means += `; p50 ${duration(metrics.p50_processing * 1e6)}, p95 ${duration(metrics.p95_processing * 1e6)}`;
    }
    list.append(
      h(
        "div",
        {},
        h("dt", {}, title),
        h(
          "dd",
          { class: "number", "data-metric": name, "data-value": value, title: isTime ? `${value} s` : null },
          text,
        ),
        h("dd", { class: "means" }, means),
      ),
    );
  }
  section.append(sectionTitle("metrics", "Metrics"), list);
}
