/* The controls above the table: the filter, ready filters, the choice of columns, and saving. */

import { h, icon, s } from "./dom.js";
import { plural } from "./format.js";

/** @typedef {import("./run_data.js").RunData} RunData */

/**
 * Return a button for each filter that finds something.
 * @param {RunData} data
 * @param {(query: string) => void} show
 * @param {() => void} showSlowest
 */
export function filterChips(data, show, showSlowest) {
  const counts = data.counts();
  const number = (/** @type {string} */ kind) => counts.get(kind) ?? 0;
  /** @type {[string, string, number, string][]} */
  const chips = [
    ["", "All", data.count, ""],
    ["state:failed", "Failed", number("failed"), "failed"],
    ["state:timeout", "Timeout", number("timeout"), "timeout"],
    ["is:flaky", "Flaky", number("flaky"), "flaky"],
    ["state:skipped", "Skipped", number("skipped"), "skipped"],
    ["state:running", "Running", number("running"), "running"],
    ["state:waiting", "Waiting", number("waiting"), "waiting"],
    ["state:held", "Held", number("held"), "held"],
  ];
  const found = [];
  for (const [query, text, count, kind] of chips) {
    if (!count && query) continue;
    const attributes = { type: "button", class: "chip", "data-query": query, click: () => show(query) };
    found.push(
      h("button", attributes, kind && icon(kind), text, h("span", { class: "dim" }, count.toLocaleString("en"))),
    );
  }
  found.push(h("button", { type: "button", class: "chip", click: showSlowest }, "Slowest"));
  return found;
}

/** Return how many rows of a live run come later, empty if all are there. @param {RunData} data */
export function followText(data) {
  const count = data.followCount();
  return count ? `${plural(count, "row")} follow${count === 1 ? "s" : ""}` : "";
}

/**
 * Return the list of columns to choose from.
 * @param {import("./job_columns.js").TableColumn[]} columns
 * @param {(key: string, hidden: boolean) => void} changed
 */
export function columnChooser(columns, changed) {
  const list = h("div");
  for (const column of columns) {
    if (column.key === "name") continue;
    const box = h("input", { type: "checkbox", checked: !column.hidden });
    box.addEventListener("change", () => changed(column.key, !box.checked));
    list.append(h("label", {}, box, " ", column.title));
  }
  return h("details", { class: "columns" }, h("summary", { class: "button" }, "Columns"), list);
}

/** Return the box of the filter with its icon. @param {HTMLInputElement} input */
export function searchBox(input) {
  return h(
    "span",
    { class: "search" },
    s(
      "svg",
      { viewBox: "0 0 16 16", "aria-hidden": "true" },
      s("circle", { cx: 7, cy: 7, r: 4.6, fill: "none", stroke: "currentColor", "stroke-width": 1.4 }),
      s("path", { d: "M10.5 10.5L14 14", stroke: "currentColor", "stroke-width": 1.4 }),
    ),
    input,
    h("kbd", { "aria-hidden": "true" }, "/"),
  );
}

/**
 * Have the browser save a text as a CSV file.
 * @param {string} name
 * @param {string} text
 */
export function saveText(name, text) {
  const link = h("a", { download: name });
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
