/* Elements. A text of a job only ever becomes a text node or an attribute, never markup. */

/** @typedef {Node | string | number | null | undefined | false} Child */
/** @typedef {{[name: string]: string | number | boolean | null | undefined | ((event: any) => void)}} Attributes */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Fill an element with attributes and children. An attribute whose value is a function listens to that event.
 * @param {Element} element
 * @param {Attributes} attributes
 * @param {Child[]} children
 */
function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false && child !== "") {
      element.append(child instanceof Node ? child : String(child));
    }
  }
}

/**
 * Return a new HTML element.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  filled(element, attributes, children);
  return element;
}

/**
 * Return a new SVG element.
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[T]}
 */
export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  filled(element, attributes, children);
  return element;
}

/**
 * Return the element with that id.
 * @param {string} id
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found;
}

/**
 * What is drawn for a state: whether the shape is full, and the lines in it. The shape tells states apart
 * without colours.
 * @type {{[kind: string]: {frame: string, full?: boolean, dashes?: string, mark: string, colour: string}}}
 */
const SHAPES = {
  ok: { frame: "ring", mark: "M5 8.2l2.1 2.1L11 6.2", colour: "ok" },
  failed: { frame: "ring", full: true, mark: "M5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4", colour: "failed" },
  timeout: { frame: "ring", full: true, mark: "M8 4.5V8.3l2.4 1.6", colour: "timeout" },
  skipped: { frame: "ring", dashes: "2 1.7", mark: "M5.6 8h4.8", colour: "skipped" },
  cancelled: { frame: "ring", dashes: "2 1.7", mark: "M5.6 8h4.8", colour: "skipped" },
  interrupted: { frame: "ring", mark: "M6 6h4v4H6z", colour: "waiting" },
  flaky: { frame: "diamond", mark: "M5.6 8.1l1.7 1.7 3.1-3.2", colour: "flaky" },
  running: { frame: "ring", mark: "M6.6 5.2v5.6L11 8z", colour: "running" },
  waiting: {
    frame: "none",
    mark: "M4.5 2.5h7M4.5 13.5h7M5.3 2.5c0 4 5.4 7 5.4 11M10.7 2.5c0 4-5.4 7-5.4 11",
    colour: "waiting",
  },
  queued: { frame: "ring", mark: "", colour: "skipped" },
  pending: { frame: "ring", dashes: "1 2", mark: "", colour: "skipped" },
  stopped: { frame: "ring", mark: "M6 6h4v4H6z", colour: "waiting" },
  held: { frame: "ring", dashes: "1 2", mark: "M6.4 5.6v4.8M9.6 5.6v4.8", colour: "waiting" },
  paused: { frame: "ring", mark: "M6.4 5.6v4.8M9.6 5.6v4.8", colour: "waiting" },
};

/**
 * Return the icon of a state. It is hidden from screen readers, because a word stands beside it.
 * @param {string} kind
 */
export function icon(kind) {
  const shape = SHAPES[kind] ?? SHAPES.queued;
  const colour = `var(--${shape.colour})`;
  const outline = { fill: shape.full ? colour : "none", stroke: colour, "stroke-width": 1.4 };
  return s(
    "svg",
    { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" },
    shape.frame === "ring" && s("circle", { cx: 8, cy: 8, r: 6.6, "stroke-dasharray": shape.dashes, ...outline }),
    shape.frame === "diamond" && s("path", { d: "M8 1l7 7-7 7-7-7z", "stroke-linejoin": "round", ...outline }),
    shape.mark &&
      s("path", {
        d: shape.mark,
        fill: kind === "running" ? colour : "none",
        stroke: shape.full ? "var(--page)" : colour,
        "stroke-width": 1.5,
        "stroke-linecap": "round",
        "stroke-linejoin": "round",
      }),
  );
}

/**
 * Return a command line with a button that copies it.
 * @param {string} text
 * @param {string} label what the button copies, for screen readers
 */
export function copyable(text, label) {
  const button = h(
    "button",
    { type: "button", "aria-label": `Copy ${label}`, click: () => copy(text, button) },
    "copy",
  );
  return h("div", { class: "command" }, h("code", { tabindex: 0 }, text), button);
}

/**
 * Copy a text, and say so on the button.
 * @param {string} text
 * @param {HTMLElement} button
 */
export async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "copied";
  setTimeout(() => {
    button.textContent = before;
  }, 1500);
}

/**
 * Return buttons of which one is pressed.
 * @param {string} label
 * @param {[string, string][]} options the value and the text of each button
 * @param {string} chosen
 * @param {(value: string) => void} act
 */
export function choice(label, options, chosen, act) {
  const group = h("span", { class: "choice", role: "group", "aria-label": label });
  for (const [value, text] of options) {
    const button = h("button", { type: "button", "aria-pressed": String(value === chosen) }, text);
    button.addEventListener("click", () => {
      for (const other of group.children) other.setAttribute("aria-pressed", String(other === button));
      act(value);
    });
    group.append(button);
  }
  return group;
}

/**
 * Return the line above a section.
 * @param {string} id
 * @param {string} text
 * @param {...Child} more
 */
export function sectionTitle(id, text, ...more) {
  return h("div", { class: "title" }, h("h2", { id: `${id}-title` }, text), ...more);
}

/**
 * Fill a section anew. What had the focus in it has it afterwards, so that the keyboard does not lose its place.
 * @param {HTMLElement} section
 * @param {() => void} fill
 */
export function refill(section, fill) {
  const reached = "button, a, summary, [tabindex]";
  const place = [...section.querySelectorAll(reached)].indexOf(/** @type {Element} */ (document.activeElement));
  section.replaceChildren();
  fill();
  if (place < 0) return;
  const found = [...section.querySelectorAll(reached)];
  const next = found[Math.min(place, found.length - 1)];
  if (next instanceof HTMLElement) next.focus({ preventScroll: true });
}

/**
 * Say something to screen readers.
 * @param {string} text
 */
export function say(text) {
  byId("said").textContent = text;
}
