// A chart of one time axis with its legend, its ranges and the same numbers as a table.
// model: {now, unit: the left scale's, else jobs, late: whether the numbers of jobs are unknown now, stacks: [{key, label, t, values}], lines: [{key, label, t, values, side: "jobs"|"pods", step}], events: [{t, kind, text}]}

import { Crosshair, valuesAt } from "./crosshair.js";
import { h, setAttribute, svg } from "./dom.js";
import { geometry, plot } from "./plot.js";
import { timeTicks } from "./scale.js";
import { UNKNOWN, clock, known } from "./words.js";

const RANGES = [[60, "1 min"], [300, "5 min"], [900, "15 min"], [3600, "1 h"]];

export function chart(place, label) {
  const one = new Chart(place, label);
  return (model) => one.show(model);
}

class Chart {
  constructor(place, label) {
    this.range = null; // until the user chooses one, it grows with the data
    this.legend = h("ul", { class: "legend" });
    this.ranges = RANGES.map(([seconds, words]) => h("button", { type: "button", class: "quiet", onclick: () => this.choose(seconds) }, words));
    this.asTable = h("button", { type: "button", class: "quiet", "aria-pressed": "false", onclick: () => this.toggle() }, "as a table");
    this.box = h("div", { class: "plot", tabindex: 0, role: "group", "aria-label": `${label}; the arrow keys read its values` });
    this.table = h("div", { class: "chart-table", hidden: true, tabindex: 0, role: "region", "aria-label": `${label}, as a table` });
    place.classList.add("chart");
    place.replaceChildren(h("div", { class: "chart-head" }, this.legend, h("div", { class: "ranges", role: "group", "aria-label": "How far back" }, this.ranges, this.asTable)),
      this.box, this.table);
    this.cross = new Crosshair(this.box);
    new ResizeObserver(() => this.model && this.draw()).observe(place);
  }

  choose(seconds) {
    this.range = seconds;
    this.draw();
  }

  toggle() {
    this.table.hidden = !this.table.hidden;
    setAttribute(this.asTable, "aria-pressed", !this.table.hidden ? "true" : "false");
    this.draw();
  }

  show(model) {
    this.model = model;
    this.draw();
  }

  draw() {
    const { model } = this;
    const range = this.range ?? fitting(model);
    const width = Math.max(280, Math.round(this.box.clientWidth));
    const place = geometry(model, width, range);
    this.cross.draw(model, place, plot(model, place));
    this.ranges.forEach((button, index) => setAttribute(button, "aria-pressed", RANGES[index][0] === range ? "true" : "false"));
    const { rows } = valuesAt(model, model.now, 12);
    this.legend.replaceChildren(...[...model.stacks, ...model.lines].map((series, index) => legendItem(series, model.late && series.side !== "pods" ? UNKNOWN : rows[index][1])));
    if (!this.table.hidden) this.table.replaceChildren(table(model, range));
  }
}

function fitting(model) {
  const earliest = Math.min(...[...model.stacks, ...model.lines].map(firstKnown));
  return RANGES.map(([seconds]) => seconds).find((seconds) => seconds >= model.now - earliest - 2) ?? RANGES.at(-1)[0];
}

function firstKnown({ t, values }) {
  const index = values.findIndex(known);
  return index < 0 ? Infinity : t[index];
}

function legendItem(series, now) {
  const area = !series.side;
  const sign = area ? svg("rect", { class: `area ${series.key}`, x: 0, y: 1, width: 18, height: 10, rx: 2 }) : svg("path", { class: `line ${series.key}`, d: "M0,6H18" });
  return h("li", {}, svg("svg", { viewBox: "0 0 18 12", "aria-hidden": "true" }, sign), series.label, " ", h("b", { class: now === UNKNOWN ? "unknown" : null }, now));
}

// One row for each round time.
function table(model, range) {
  const times = timeTicks(model.now - range, model.now, 62).reverse();
  const { rows } = valuesAt(model, model.now, 8);
  const body = times.map((time) => {
    const at = valuesAt(model, time, 8);
    return h("tr", {}, h("th", { scope: "row" }, clock(time)), at.rows.map(([, text]) => h("td", { class: text === UNKNOWN ? "unknown" : null }, text)), h("td", {}, at.events.map(({ text }) => text).join("; ")));
  });
  return h("table", {}, h("caption", { class: "unseen" }, "The chart's numbers"), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "time"),
    rows.map(([label]) => h("th", { scope: "col" }, label)), h("th", { scope: "col" }, "events"))), h("tbody", {}, body));
}
