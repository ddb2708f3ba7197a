/* What is around the content of a page: light and dark, the links to its sections, and the list of keys. */

import { byId, h, refill, s } from "./dom.js";

/** @typedef {import("./run_data.js").RunData} RunData */

const THEME = "pqrun-theme";

/** Follow the browser's choice between light and dark until the reader chooses. */
export function setUpTheme() {
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

/** The links at the top to the sections that have content. */
export class SectionLinks {
  constructor() {
    this._bar = byId("sections");
    /** @type {Map<Element, HTMLElement>} */
    this._links = new Map();
    addEventListener("scroll", () => this._mark(), { passive: true });
  }

  /** Make the links anew if they have changed. @param {RunData} data */
  update(data) {
    /** @type {[string, string, number][]} */
    const named = [
      ["failures", "Failures", data.failureCount()],
      ["timeline", "Timeline", 0],
      ["jobs", "Jobs", data.jobCount()],
      ["graph", "Graph", 0],
      ["metrics", "Metrics", 0],
    ];
    const shown = named.filter(([id]) => byId(id).childElementCount);
    const text = JSON.stringify(shown);
    if (text === this._bar.dataset.links) return;
    this._bar.dataset.links = text;
    refill(this._bar, () => {
      this._links.clear();
      for (const [id, title, count] of shown) {
        const number = count !== 0 && h("span", { class: "dim" }, count.toLocaleString("en"));
        const link = h("a", { href: `#${id}` }, title, number);
        this._links.set(byId(id), link);
        this._bar.append(link);
      }
    });
    this._mark();
  }

  _mark() {
    const links = [...this._links];
    const tops = links.filter(([section]) => section.getBoundingClientRect().top < innerHeight / 3);
    const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 2 && scrollY > 0;
    const current = atEnd ? links.at(-1)?.[1] : (tops.at(-1)?.[1] ?? links[0]?.[1]);
    for (const [, link] of links) {
      if (link === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }
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

/** Fill the list of keys and return it. */
export function setUpKeys() {
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
