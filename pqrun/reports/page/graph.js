/* The graph of needs: layers from left to right, the jobs of one matrix as one box. */

import { h, s, icon, sectionTitle } from "./dom.js";
import { inOrder } from "./critical_path.js";
import { duration } from "./format.js";
import { groupOf } from "./job_filter.js";
import { KINDS } from "./run_data.js";

/** @typedef {import("./run_data.js").RunData} RunData */
/** @typedef {{name: string, jobs: number[], needs: Set<number>, layer: number, row: number, critical: boolean}} Box */

const MAX_BOXES = 300,
  MAX_CHAIN = 60,
  MAX_STRIP = 40;
const WIDTH = 150,
  HEIGHT = 38,
  ACROSS = 98,
  DOWN = 13;

/**
 * Fill the section of the graph, unless no job needs another.
 * @param {HTMLElement} section
 * @param {RunData} data
 * @param {number[][]} needs
 * @param {import("./critical_path.js").CriticalPath} critical
 * @param {(job: number) => void} open
 * @param {(query: string) => void} show
 */
export function fillGraph(section, data, needs, critical, open, show) {
  if (!critical.edges) return;
  const [boxes, boxOf] = boxesOf(data, needs);
  const inUse = boxes.filter((box) => box.needs.size);
  const drawn = new Set(inUse);
  for (const box of inUse) for (const need of box.needs) drawn.add(boxes[need]);
  const isWhole = drawn.size <= MAX_BOXES;
  const chain = critical.jobs.map((job) => boxOf[job]).filter((box, place, all) => box !== all[place - 1]);
  for (const box of chain) boxes[box].critical = true;
  const wanted = isWhole ? [...drawn] : [...new Set(chain)].slice(0, MAX_CHAIN).map((box) => boxes[box]);
  const alone = boxes.filter((box) => !drawn.has(box));
  const names = critical.jobs.map((job) => data.name(job));
  const path = names.length > 12 ? [...names.slice(0, 6), `… ${names.length - 11} more …`, ...names.slice(-5)] : names;
  const what = isWhole
    ? "needs; jobs of one matrix are one box"
    : `the critical path alone, because ${drawn.size.toLocaleString("en")} boxes are too many`;
  section.append(
    sectionTitle(
      "graph",
      "Graph",
      h("p", {}, what),
      h("p", { class: "end graph-path" }, `critical path, ${duration(critical.micros)}: ${path.join(" → ")}`),
    ),
    h(
      "div",
      { class: "graph", tabindex: 0, role: "group", "aria-label": "Graph of needs" },
      drawing(data, wanted, boxes, chain, open, show),
    ),
  );
  if (alone.length && isWhole) {
    /** @type {Map<string, number>} */
    const groups = new Map();
    for (const box of alone) {
      const name = box.name.split("/")[0] || box.name;
      groups.set(name, (groups.get(name) ?? 0) + box.jobs.length);
    }
    const some = [...groups].slice(0, 12).map(([name, count]) => (count > 1 ? `${name} × ${count}` : name));
    section.append(
      h(
        "p",
        { class: "dim" },
        `Without needs: ${some.join(", ")}${groups.size > 12 ? ` and ${groups.size - 12} more` : ""}`,
      ),
    );
  }
}

/**
 * Return a box for each job, or for the jobs of a matrix, and the box of each job.
 * @param {RunData} data
 * @param {number[][]} needs
 * @returns {[Box[], Int32Array]}
 */
function boxesOf(data, needs) {
  /** @type {Map<string, number>} */
  const byName = new Map();
  /** @type {Box[]} */
  const boxes = [];
  const boxOf = new Int32Array(data.count);
  for (let job = 0; job < data.count; job++) {
    const name = data.jobs.named[job] ? groupOf(data.jobs.id[job]) : data.name(job);
    const key = data.jobs.named[job] ? name : `#${job}`;
    let box = byName.get(key);
    if (box === undefined) {
      box = boxes.length;
      byName.set(key, box);
      boxes.push({ name, jobs: [], needs: new Set(), layer: 0, row: 0, critical: false });
    }
    boxes[box].jobs.push(job);
    boxOf[job] = box;
  }
  needs.forEach((some, job) =>
    some.forEach((need) => {
      if (boxOf[need] !== boxOf[job]) boxes[boxOf[job]].needs.add(boxOf[need]);
    }),
  );
  return [boxes, boxOf];
}

/**
 * Give each box its layer and its row.
 * @param {Box[]} wanted
 * @param {Box[]} boxes
 * @param {number[]} chain the boxes of the critical path, which get the first row
 */
function layOut(wanted, boxes, chain) {
  const place = new Map(wanted.map((box, at) => [box, at]));
  const needs = wanted.map((box) =>
    [...box.needs].map((need) => place.get(boxes[need]) ?? -1).filter((need) => need >= 0),
  );
  const done = new Set();
  for (const at of inOrder(needs)) {
    for (const need of needs[at])
      if (done.has(need)) wanted[at].layer = Math.max(wanted[at].layer, wanted[need].layer + 1);
    done.add(at);
  }
  const onPath = new Set(chain.map((box) => boxes[box]));
  const users = needs.map(() => /** @type {number[]} */ ([]));
  needs.forEach((some, at) => some.forEach((need) => users[need].push(at)));
  wanted.forEach((box, at) => {
    // a box without needs stands just before the first that needs it, which makes edges short
    if (needs[at].length || !users[at].length || onPath.has(box)) return;
    box.layer = Math.max(0, users[at].reduce((least, user) => Math.min(least, wanted[user].layer), Infinity) - 1);
  });
  /** @type {number[][]} */
  const layers = [];
  wanted.forEach((box, at) => (layers[box.layer] ??= []).push(at));
  for (let round = 0; round < 4; round++) {
    for (const layer of layers) {
      const middle = (/** @type {number} */ at) => {
        if (onPath.has(wanted[at])) return -1;
        const around = round % 2 ? users[at] : needs[at];
        return around.length
          ? around.reduce((sum, other) => sum + wanted[other].row, 0) / around.length
          : wanted[at].row;
      };
      const keys = new Map(layer.map((at) => [at, middle(at)]));
      layer.sort((one, other) => (keys.get(one) ?? 0) - (keys.get(other) ?? 0) || one - other);
      layer.forEach((at, row) => {
        wanted[at].row = row;
      });
    }
  }
  return { columns: layers.length, rows: layers.reduce((most, layer) => Math.max(most, layer.length), 1) };
}

/**
 * @param {RunData} data
 * @param {Box[]} wanted
 * @param {Box[]} boxes
 * @param {number[]} chain
 * @param {(job: number) => void} open
 * @param {(query: string) => void} show
 */
function drawing(data, wanted, boxes, chain, open, show) {
  const { columns, rows } = layOut(wanted, boxes, chain);
  const width = columns * WIDTH + (columns - 1) * ACROSS + 2,
    height = rows * (HEIGHT + DOWN) + 2;
  const picture = s("svg", {
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    role: "group",
    "aria-label": "Boxes of jobs and their needs",
  });
  const x = (/** @type {Box} */ box) => 1 + box.layer * (WIDTH + ACROSS);
  const y = (/** @type {Box} */ box) => 1 + box.row * (HEIGHT + DOWN);
  const shown = new Set(wanted);
  const steps = new Set(chain.slice(1).map((box, place) => `${chain[place]}>${box}`));
  const edges = s("g", { "aria-hidden": "true" });
  const critical = s("g", { "aria-hidden": "true" });
  for (const box of wanted) {
    for (const number of box.needs) {
      const need = boxes[number];
      if (!shown.has(need)) continue;
      const from = [x(need) + WIDTH, y(need) + HEIGHT / 2],
        to = [x(box), y(box) + HEIGHT / 2];
      const bend = Math.max(24, Math.min(ACROSS / 2, Math.abs(to[0] - from[0]) / 2));
      const isCritical = steps.has(`${number}>${boxes.indexOf(box)}`);
      const edge = s("path", {
        class: isCritical ? "edge critical" : "edge",
        d: `M${from} C${from[0] + bend},${from[1]} ${to[0] - bend},${to[1]} ${to}`,
      });
      (isCritical ? critical : edges).append(edge);
    }
  }
  picture.append(edges, critical);
  for (const box of wanted) picture.append(drawnBox(data, box, x(box), y(box), open, show));
  return picture;
}

/**
 * @param {RunData} data
 * @param {Box} box
 * @param {number} x
 * @param {number} y
 * @param {(job: number) => void} open
 * @param {(query: string) => void} show
 */
function drawnBox(data, box, x, y, open, show) {
  const worst = box.jobs.reduce((one, other) => (data.kind[other] < data.kind[one] ? other : one));
  const kind = data.kindOf(worst) === "flaky" && box.jobs.length > 1 ? "ok" : data.kindOf(worst);
  const count = box.jobs.length;
  const act = () => (count > 1 ? show(`group:"${box.name.replace(/"/g, "")}"`) : open(box.jobs[0]));
  const sign = icon(kind);
  sign.setAttribute("x", "8");
  sign.setAttribute("y", "5");
  sign.setAttribute("width", "15");
  sign.setAttribute("height", "15");
  const room = count > 1 ? 14 : 18;
  const name = box.name.length > room ? `${box.name.slice(0, room - 1)}…` : box.name;
  const group = s(
    "g",
    {
      class: box.critical ? "box critical" : "box",
      transform: `translate(${x} ${y})`,
      role: "button",
      tabindex: 0,
      "aria-label": `${box.name}, ${count > 1 ? `${count} jobs, ` : ""}${kind}${box.critical ? ", on the critical path" : ""}`,
      click: act,
      keydown: (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          act();
        }
      },
    },
    s("title", {}, box.name),
    s("rect", { class: "frame", width: WIDTH, height: HEIGHT, rx: 5 }),
    sign,
    s("text", { x: 28, y: 17 }, name, count > 1 && s("tspan", { class: "dim" }, ` × ${count}`)),
  );
  group.append(...strip(data, box.jobs));
  return group;
}

/**
 * Return a part for each job, coloured by how it ended; above forty jobs the parts stand for several.
 * @param {RunData} data
 * @param {number[]} jobs
 */
function strip(data, jobs) {
  const parts = Math.min(jobs.length, MAX_STRIP);
  const width = (WIDTH - 16) / parts;
  const colours = /** @type {{[kind: string]: string}} */ ({
    ok: "ok-area",
    flaky: "ok-area",
    failed: "failed-area",
    timeout: "timeout-area",
    running: "running-area",
  });
  return Array.from({ length: parts }, (_, part) => {
    const some = jobs.slice(
      Math.floor((part * jobs.length) / parts),
      Math.max(1, Math.floor(((part + 1) * jobs.length) / parts)),
    );
    const kind = KINDS[some.reduce((worst, job) => Math.min(worst, data.kind[job]), KINDS.length - 1)];
    const colour = colours[kind];
    return s("rect", {
      x: 8 + part * width,
      y: 26,
      width: Math.max(1, width - (parts > 1 ? 1 : 0)),
      height: 5,
      rx: 1,
      fill: colour ? `var(--${colour})` : "none",
      stroke: colour ? "none" : "var(--strong-line)",
    });
  });
}
