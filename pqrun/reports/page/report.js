/* The start of the page of a recorded run: reads the data and fills the sections. */

import { criticalPath, needsOf } from "./critical_path.js";
import { byId, h, s, say } from "./dom.js";
import { fillFailures } from "./failures.js";
import { fillGraph } from "./graph.js";
import { fillHeadline } from "./headline.js";
import { JobPane } from "./job_pane.js";
import { JobTable } from "./job_table.js";
import { fillMetrics } from "./metrics.js";
import { readData } from "./run_data.js";
import { Timeline } from "./timeline.js";

/** @typedef {import("./run_data.js").RunData} RunData */

const THEME = "pqrun-theme";

/** Follow the browser's choice between light and dark until the reader chooses. */
function setUpTheme() {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => {
    try {
      return localStorage.getItem(THEME);
    } catch {
      return null; // a page from the disk may have no storage
    }
  };
  const apply = () => {
    root.dataset.theme = remembered() ?? (dark.matches ? "dark" : "light");
  };
  apply();
  addEventListener("beforeprint", () => {
    root.dataset.theme = "light"; // a dark page would take much ink
    dispatchEvent(new Event("themechange"));
  });
  addEventListener("afterprint", () => {
    apply();
    dispatchEvent(new Event("themechange"));
  });
  dark.addEventListener("change", () => {
    apply();
    dispatchEvent(new Event("themechange"));
  });
  const button = byId("theme");
  button.append(
    s(
      "svg",
      { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" },
      s("circle", { cx: 8, cy: 8, r: 6, fill: "none", stroke: "currentColor", "stroke-width": 1.4 }),
      s("path", { d: "M8 2a6 6 0 010 12z", fill: "currentColor" }),
    ),
  );
  button.addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem(THEME, root.dataset.theme);
    } catch {
      /* the choice then lasts as long as the page */
    }
    dispatchEvent(new Event("themechange"));
  });
}

/**
 * Fill the bar at the top with links to the sections that have content.
 * @param {RunData} data
 */
function fillSections(data) {
  const bar = byId("sections");
  const named = [
    ["failures", "Failures", data.failures().length],
    ["timeline", "Timeline", 0],
    ["jobs", "Jobs", data.count],
    ["graph", "Graph", 0],
    ["metrics", "Metrics", 0],
  ];
  /** @type {Map<Element, HTMLElement>} */
  const links = new Map();
  for (const [id, title, count] of named) {
    const section = byId(String(id));
    if (!section.childElementCount) continue;
    const link = h(
      "a",
      { href: `#${id}` },
      title,
      count !== 0 && h("span", { class: "dim" }, Number(count).toLocaleString("en")),
    );
    links.set(section, link);
    bar.append(link);
  }
  const mark = () => {
    const tops = [...links].filter(([section]) => section.getBoundingClientRect().top < innerHeight / 3);
    const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 2 && scrollY > 0;
    const current = atEnd ? [...links.values()].at(-1) : (tops.at(-1)?.[1] ?? [...links.values()][0]);
    for (const link of links.values()) {
      if (link === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  addEventListener("scroll", mark, { passive: true });
  mark();
}

const KEYS = [
  ["/", "filter the jobs"],
  ["j k ↑ ↓", "next and previous job"],
  ["Enter", "open the job"],
  ["Esc", "close the job"],
  ["+ − 0", "zoom the timeline in, out, to all of it"],
  ["← →", "in the timeline: the attempt before and after"],
  ["[ ]", "move the timeline"],
  ["t", "light or dark"],
  ["?", "this list"],
];

function setUpKeys() {
  const dialog = /** @type {HTMLDialogElement} */ (byId("keys"));
  const list = h("dl");
  for (const [keys, meaning] of KEYS) {
    const words = keys.split(" ").flatMap((key) => [h("kbd", {}, key), " "]);
    list.append(h("dt", {}, ...words), h("dd", {}, meaning));
  }
  dialog.append(
    h("h2", { id: "keys-title" }, "Keys"),
    list,
    h("button", { type: "button", class: "button", click: () => dialog.close() }, "Close"),
  );
  byId("show-keys").addEventListener("click", () => dialog.showModal());
  return dialog;
}

function start() {
  setUpTheme();
  const data = readData();
  const needs = needsOf(data);
  const critical = criticalPath(data, needs);
  const table = new JobTable(byId("jobs"), data, (job) => pane.open(job));
  const timeline = new Timeline(byId("timeline"), data, critical, (job) => pane.open(job));
  const pane = new JobPane(/** @type {HTMLDialogElement} */ (byId("pane")), data, needs, {
    changed: (job) => timeline.mark(job),
    next: (job, step) => table.neighbour(job, step),
  });
  const show = (/** @type {string} */ query) => {
    table.filter(query);
    byId("jobs").scrollIntoView();
  };
  fillHeadline(byId("headline"), data, show);
  fillFailures(byId("failures"), data, (job) => pane.open(job), show);
  fillGraph(byId("graph"), data, needs, critical, (job) => pane.open(job), show);
  fillMetrics(byId("metrics"), data);
  fillSections(data);
  const keys = setUpKeys();

  addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
    if (event.key === "Escape" && pane.job >= 0) {
      event.preventDefault();
      return pane.close();
    }
    if (target.closest("input, select, textarea")) return;
    switch (event.key) {
      case "/":
        event.preventDefault();
        return table.focusFilter();
      case "?":
        return keys.showModal();
      case "t":
        return byId("theme").click();
      case "j":
        return pane.job >= 0 ? pane.step(1) : table.move(1);
      case "k":
        return pane.job >= 0 ? pane.step(-1) : table.move(-1);
      case "+":
      case "=":
        return timeline.zoom(2);
      case "-":
        return timeline.zoom(0.5);
      case "0":
        return timeline.fit();
      case "[":
        return timeline.pan(-0.3);
      case "]":
        return timeline.pan(0.3);
    }
  });
  const seq = /^#job-(\d+)$/.exec(location.hash);
  if (seq) pane.open(data.jobs.seq.indexOf(Number(seq[1])));
  document.documentElement.dataset.ready = "true";
  say(`${document.title}, ${data.count} jobs`);
}

start();
