// Ready and reserved jobs of the last five minutes, as a line without axes, with a gap where they are unknown.

import { h, setAttribute, svg } from "./dom.js";
import { count, known } from "./words.js";

const HEIGHT = 24;

export function sparkline() {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line" });
  const drawing = svg("svg", { class: "sparkline", preserveAspectRatio: "none", viewBox: "0 0 60 24", role: "img" }, area, line);
  return Object.assign(h("div"), { drawSpark: (values) => draw(drawing, area, line, values) }).appendChild(drawing).parentElement;
}

function draw(drawing, area, line, values) {
  const numbers = (values ?? []).filter(known);
  setAttribute(drawing, "visibility", numbers.length > 1 ? null : "hidden");
  if (numbers.length < 2) return;
  const top = Math.max(1, ...numbers);
  const step = 60 / (values.length - 1);
  const runs = unbroken(values).map((run) => run.map(([index, value]) => `${(index * step).toFixed(1)},${(HEIGHT - 1.5 - (value / top) * (HEIGHT - 4)).toFixed(1)}`));
  setAttribute(line, "d", runs.map((points) => `M${points.join("L")}`).join(""));
  setAttribute(area, "d", runs.map((points) => `M${points[0].split(",")[0]},${HEIGHT}L${points.join("L")}L${points.at(-1).split(",")[0]},${HEIGHT}Z`).join(""));
  setAttribute(drawing, "aria-label", `${count(numbers.at(0))} to ${count(numbers.at(-1))} jobs, at most ${count(Math.max(...numbers))}`);
}

function unbroken(values) {
  const runs = [];
  values.forEach((value, index) => {
    if (!known(value)) return;
    if (!known(values[index - 1])) runs.push([]);
    runs.at(-1).push([index, value]);
  });
  return runs;
}
