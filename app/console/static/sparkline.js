// Ready and reserved jobs of the last five minutes, as a line without axes, with a gap where they are unknown.

import { h, setAttribute, svg } from "./dom.js";
import { runs } from "./scale.js";
import { count, known, plural } from "./words.js";

const HEIGHT = 24;
const POINTS = 60; // five minutes

export function sparkline() {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line" });
  const drawing = svg("svg", { class: "sparkline", preserveAspectRatio: "none", viewBox: "0 0 60 24", role: "img" }, area, line);
  return Object.assign(h("div"), { drawSpark: (values) => draw(drawing, area, line, values) }).appendChild(drawing).parentElement;
}

function draw(drawing, area, line, recent) {
  const values = Array(Math.max(0, POINTS - (recent ?? []).length)).fill(null).concat(recent ?? []);
  const numbers = values.filter(known);
  setAttribute(drawing, "visibility", numbers.length > 1 ? null : "hidden");
  if (numbers.length < 2) return;
  const top = Math.max(1, ...numbers);
  const step = 60 / (values.length - 1);
  const point = (index) => `${(index * step).toFixed(1)},${(HEIGHT - 1.5 - (values[index] / top) * (HEIGHT - 4)).toFixed(1)}`;
  const lines = runs(values.map((_, index) => index), (index) => known(values[index])).map((run) => run.map(point));
  setAttribute(line, "d", lines.map((points) => `M${points.join("L")}`).join(""));
  setAttribute(area, "d", lines.map((points) => `M${points[0].split(",")[0]},${HEIGHT}L${points.join("L")}L${points.at(-1).split(",")[0]},${HEIGHT}Z`).join(""));
  setAttribute(drawing, "aria-label", `${count(numbers.at(0))} to ${plural(numbers.at(-1), "job")}, at most ${count(Math.max(...numbers))}`);
}
