/* The table of jobs. Only the rows in sight are elements, so that a hundred thousand jobs scroll fluently. */

import { h, refill, say, sectionTitle } from "./dom.js";
import { plural } from "./format.js";
import { asCsv, columnsOf, narrowCells, sortByKeys } from "./job_columns.js";
import { columnChooser, filterChips, followText, saveText, searchBox } from "./table_controls.js";
import { JobFilter } from "./job_filter.js";

/** @typedef {import("./run_data.js").RunData} RunData */

const ROW = 27,
  NARROW_ROW = 51;
const MAX_HEIGHT = 15_000_000; // browsers do not make elements much higher
const MAX_PRINTED = 2000,
  PRINTED = 0.62;

export class JobTable {
  /**
   * @param {HTMLElement} section
   * @param {RunData} data
   * @param {(job: number) => void} open
   */
  constructor(section, data, open) {
    this._data = data;
    this._open = open;
    this._columns = columnsOf(data);
    this._filter = new JobFilter(data);
    this._sorted = { key: "state", down: false };
    this._found = new Int32Array();
    this._selected = -1;
    this._narrow = matchMedia("(max-width: 760px)");
    this._printing = false;
    /** @type {Map<number, HTMLElement>} the rows in sight by their place */
    this._rows = new Map();

    this._count = h("p", { role: "status", "aria-live": "polite" });
    this._follow = h("span", { class: "dim", title: "They come when the run becomes slower or has ended." });
    this._input = h("input", {
      type: "search",
      placeholder: "Filter: text, state:failed, priority:low, tag:x, ran>10s",
      spellcheck: "false",
      autocomplete: "off",
      "aria-label": "Filter the jobs",
      input: () => this._changed(),
      keydown: (event) => this._inInput(event),
    });
    this._problem = h("p", { class: "problem", role: "alert", hidden: true });
    this._chipBox = h("span", { class: "chips" });
    /** @type {HTMLElement[]} */
    this._chips = [];
    this._makeChips();
    this._head = h("div", { class: "head", role: "row", "aria-rowindex": 1 });
    this._body = h("div", { class: "body", role: "rowgroup" });
    this._box = h(
      "div",
      { class: "table", role: "grid", tabindex: 0, "aria-label": "Jobs", scroll: () => this._wanted() },
      h("div", { role: "rowgroup", class: "head-group" }, this._head),
      this._body,
    );
    this._box.addEventListener("keydown", (event) => this._key(event));
    this._box.addEventListener("focus", () => {
      if (this._selected < 0 && this._found.length) this._select(0, false);
    });
    const save = () => saveText(`${this._data.head.run.id}.csv`, asCsv(this._columns, this._found));
    this._chooser = columnChooser(this._columns, (key, hidden) => this._hide(key, hidden));
    section.append(
      sectionTitle("jobs", "Jobs", this._count, this._follow),
      h(
        "div",
        { class: "filters" },
        searchBox(this._input),
        this._chipBox,
        h(
          "span",
          { class: "end" },
          this._chooser,
          h("button", { type: "button", class: "button", click: save }, "CSV"),
        ),
        this._problem,
      ),
      this._box,
    );
    this._narrow.addEventListener("change", () => this._arrange());
    addEventListener("resize", () => this._wanted());
    addEventListener("beforeprint", () => {
      this._printing = true;
      this._arrange();
      this._draw();
    });
    addEventListener("afterprint", () => {
      this._printing = false;
      this._arrange();
    });
    this._frame = 0;
    this._arrange();
    this._changed();
  }

  /**
   * Show newer data. Filter, order, columns, the selected job and what is in sight stay.
   * @param {RunData} data
   */
  update(data) {
    const { scrollTop, scrollLeft } = this._box;
    const selected = this._found[this._selected];
    const seq = selected === undefined ? -1 : this._data.jobs.seq[selected];
    const hidden = new Map(this._columns.map((column) => [column.key, column.hidden]));
    const before = this._columns.map((column) => column.key).join();
    this._data = data;
    this._filter = new JobFilter(data);
    this._columns = columnsOf(data);
    for (const column of this._columns) column.hidden = hidden.get(column.key) ?? column.hidden;
    if (before !== this._columns.map((column) => column.key).join()) {
      const chooser = columnChooser(this._columns, (key, hidden) => this._hide(key, hidden));
      this._chooser.replaceWith(chooser);
      this._chooser = chooser;
      this._arrange();
    } else this._shown = this._columns.filter((column) => !column.hidden);
    this._makeChips();
    this._changed();
    this._selected = this._found.indexOf(data.jobOf(seq));
    this._draw();
    this._box.scrollTop = scrollTop;
    this._box.scrollLeft = scrollLeft;
  }

  /** @param {string} key @param {boolean} hidden */
  _hide(key, hidden) {
    for (const column of this._columns) if (column.key === key) column.hidden = hidden;
    this._arrange();
  }

  _makeChips() {
    refill(this._chipBox, () => {
      this._chips = filterChips(
        this._data,
        (query) => this.filter(query),
        () => {
          this._sorted = { key: "ran", down: true };
          this._arrange();
          this.filter("");
        },
      );
      this._chipBox.append(...this._chips);
    });
  }

  /** Show the jobs that match. @param {string} query */
  filter(query) {
    this._input.value = query;
    this._changed();
  }

  focusFilter() {
    this._input.focus();
    this._input.select();
  }

  /** Select the next or previous row. @param {number} step */
  move(step) {
    this._box.focus({ preventScroll: true });
    this._select(Math.min(this._found.length - 1, Math.max(0, this._selected + step)));
    this._box.scrollIntoView({ block: "nearest" });
  }

  /**
   * Return the job before or after another in the table; -1 at its ends.
   * @param {number} job
   * @param {number} step
   */
  neighbour(job, step) {
    const place = this._found.indexOf(job);
    const next = place < 0 ? 0 : place + step;
    if (next < 0 || next >= this._found.length) return -1;
    this._select(next);
    return this._found[next];
  }

  /** Set up the columns and heads anew, and draw. */
  _arrange() {
    const shown = this._columns.filter((column) => !column.hidden);
    this._shown = shown;
    this._grid = shown
      .map(({ min, grow = 0 }) =>
        // Paper cannot be scrolled, so there all columns are narrower, as their letters are.
        this._printing
          ? grow
            ? `minmax(0, ${grow}fr)`
            : `${PRINTED * min}px`
          : grow
            ? `minmax(${min}px, ${grow}fr)`
            : `${min}px`,
      )
      .join(" ");
    this._head.style.gridTemplateColumns = this._grid;
    const least = this._narrow.matches || this._printing ? 0 : shown.reduce((sum, column) => sum + column.min, 0);
    for (const part of [this._head, this._body]) part.style.minWidth = `${least}px`;
    this._head.replaceChildren(
      ...shown.map((column, place) => {
        const isSorted = this._sorted.key === column.key;
        const button = h(
          "button",
          { type: "button", tabindex: -1, click: () => this._sortBy(column.key) },
          column.title,
          isSorted && (this._sorted.down ? " ↓" : " ↑"),
        );
        return h(
          "div",
          {
            role: "columnheader",
            class: column.right ? "right" : null,
            "aria-colindex": place + 1,
            "aria-sort": isSorted ? (this._sorted.down ? "descending" : "ascending") : null,
          },
          button,
        );
      }),
    );
    this._box.setAttribute("aria-colcount", String(shown.length));
    this._clear();
    this._sort();
    this._wanted();
  }

  /** @param {string} key */
  _sortBy(key) {
    this._sorted = {
      key,
      down: this._sorted.key === key ? !this._sorted.down : ["ran", "waited", "cpu", "memory", "tries"].includes(key),
    };
    this._arrange();
    this._box.scrollTop = 0;
  }

  _changed() {
    const query = this._input.value.trim();
    this._found = this._filter.matches(query).slice();
    this._problem.textContent = this._filter.problem;
    this._problem.hidden = !this._filter.problem;
    this._selected = -1;
    for (const chip of this._chips) {
      chip.setAttribute(
        "aria-pressed",
        String(chip.dataset.query === query && (query !== "" || this._sorted.key === "state")),
      );
    }
    this._count.textContent =
      this._found.length === this._data.count
        ? this._data.count.toLocaleString("en")
        : `${this._found.length.toLocaleString("en")} of ${this._data.count.toLocaleString("en")}`;
    this._follow.textContent = followText(this._data);
    this._box.scrollTop = 0;
    this._clear();
    this._sort();
    this._wanted();
  }

  _sort() {
    const column = this._columns.find((one) => one.key === this._sorted.key);
    if (!column) return;
    const keys = new Array(this._data.count);
    for (const job of this._found) keys[job] = column.sort(job);
    const selected = this._found[this._selected];
    sortByKeys(this._found, keys, this._sorted.down);
    if (selected !== undefined) this._selected = this._found.indexOf(selected);
  }

  get _height() {
    return this._narrow.matches ? NARROW_ROW : ROW;
  }

  _wanted() {
    this._frame ||= requestAnimationFrame(() => {
      this._frame = 0;
      this._draw();
    });
  }

  _clear() {
    this._rows.clear();
    this._body.replaceChildren();
  }

  /** Make the rows in sight, and remove the others. */
  _draw() {
    const height = this._height;
    const total = this._found.length * height;
    const full = Math.min(total, MAX_HEIGHT);
    this._body.style.height = `${full}px`;
    const view = this._box.clientHeight || 600; // read after the height is set, which the box follows
    this._box.setAttribute("aria-rowcount", String(this._found.length + 1));
    const top = Math.max(0, this._box.scrollTop);
    // Where all rows together would be too high, the scroll bar moves by more than what it shows.
    const shift = total > full ? (top / Math.max(1, full - view)) * (total - full) : 0;
    const from = this._printing ? 0 : Math.max(0, Math.floor((top + shift) / height) - 6);
    const to = this._printing
      ? Math.min(this._found.length, MAX_PRINTED)
      : Math.min(this._found.length, Math.ceil((top + shift + view) / height) + 6);
    for (const [place, row] of this._rows) {
      if (place < from || place >= to) {
        row.remove();
        this._rows.delete(place);
      }
    }
    for (let place = from; place < to; place++) {
      let row = this._rows.get(place);
      if (!row) {
        row = this._row(place);
        this._rows.set(place, row);
        this._body.append(row);
      }
      row.style.top = `${place * height - shift}px`;
      row.setAttribute("aria-selected", String(place === this._selected));
    }
  }

  /** @param {number} place */
  _row(place) {
    const job = this._found[place];
    const row = h("div", {
      class: "row",
      role: "row",
      id: `row-${place}`,
      "aria-rowindex": place + 2,
      "data-seq": this._data.jobs.seq[job],
      click: () => {
        this._select(place, false);
        this._open(job);
      },
    });
    if (this._narrow.matches) {
      row.append(...narrowCells(this._data, job));
      return row;
    }
    row.style.gridTemplateColumns = this._grid ?? "";
    (this._shown ?? []).forEach((column, index) => {
      const names = [column.right && "right", column.usual?.(job) && "usual"].filter(Boolean).join(" ");
      row.append(
        h(
          "div",
          { role: "gridcell", "aria-colindex": index + 1, class: names || null, "data-column": column.key },
          ...column.cell(job),
        ),
      );
    });
    return row;
  }

  /**
   * @param {number} place
   * @param {boolean} [scroll]
   */
  _select(place, scroll = true) {
    this._selected = place;
    if (scroll) {
      const height = this._height,
        head = this._narrow.matches ? 0 : ROW + 1;
      const total = this._found.length * height,
        full = Math.min(total, MAX_HEIGHT);
      const top = place * height * (total ? full / total : 1);
      if (top < this._box.scrollTop) this._box.scrollTop = top;
      const bottom = top + height + head - this._box.clientHeight;
      if (bottom > this._box.scrollTop) this._box.scrollTop = bottom;
    }
    this._draw();
    this._box.setAttribute("aria-activedescendant", `row-${place}`);
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    const page = Math.max(1, Math.floor(this._box.clientHeight / this._height) - 2);
    const last = this._found.length - 1;
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const step = /** @type {{[key: string]: number}} */ (moves)[event.key];
    if (step !== undefined && last >= 0) {
      event.preventDefault();
      this._select(Math.min(last, Math.max(0, this._selected + step)));
      const job = this._found[this._selected];
      say(`${this._data.name(job)}, ${this._data.kindOf(job)}`);
    } else if (event.key === "Enter" && this._selected >= 0 && event.target === this._box) {
      event.preventDefault();
      this._open(this._found[this._selected]);
    }
  }

  /** @param {KeyboardEvent} event */
  _inInput(event) {
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      if (this._input.value) this.filter("");
      else this._input.blur();
    } else if (event.key === "Enter" || event.key === "ArrowDown") {
      event.preventDefault();
      this._box.focus();
      say(plural(this._found.length, "job"));
    }
  }
}
