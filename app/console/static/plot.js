// Draws stacked areas and lines of jobs on the left scale, pods on the right one, and events as marks above.

import { svg } from "./dom.js";
import { areaPath, fixed, highest, linePath, runs, ticks, timeTicks } from "./scale.js";
import { clock, count, known } from "./words.js";

const LETTER_PX = 6.2;
const SAMPLE_S = 7; // at most, between two samples
const NOW_S = 0.5;
// The class of an event's mark, and its shape from its upper left corner: they differ without color too.
const SQUARE = "m1,0h8v8h-8Z";
const MARKS = { loss: ["error", SQUARE], down: ["error", SQUARE], "not-scaled": ["error", SQUARE], scaled: ["scaled", "m5,-1l5,5l-5,5l-5,-5Z"] };

// Where things are: x(time), jobs(number), pods(number), and the frame around them.
export function geometry(model, width, range) {
  const height = width < 520 ? 230 : 300;
  const hasPods = model.lines.some((line) => line.side === "pods");
  const frame = { left: 46, right: width - (hasPods ? 34 : 8), top: 26, bottom: height - 22, width, height };
  const from = model.now - range;
  const to = Math.max(model.now, Math.min(model.now + range / 3, ahead(model)));
  const within = (series) => series.values.filter((_, index) => series.t[index] >= from);
  const jobTicks = ticks(highest([sums(model.stacks, from), ...model.lines.filter((line) => line.side !== "pods").map(within)]) * 1.04, 4);
  const podTicks = hasPods ? ticks(highest(model.lines.filter((line) => line.side === "pods").map(within)), 4) : [];
  const rise = (top) => (number) => frame.bottom - (number / top) * (frame.bottom - frame.top);
  const x = (time) => frame.left + ((time - from) / (to - from)) * (frame.right - frame.left);
  return { frame, from, to, x, unit: model.unit ?? "jobs", jobs: rise(jobTicks.at(-1)), pods: rise(podTicks.at(-1) ?? 1), jobTicks, podTicks };
}

// When the last prediction ends.
const ahead = ({ lines }) => Math.max(0, ...lines.filter((line) => line.ahead).map(({ t }) => t.at(-1)));

function sums(stacks, from) {
  const t = stacks[0]?.t ?? [];
  return t.map((time, index) => (time < from ? 0 : stacks.reduce((sum, { values }) => sum + (values[index] ?? 0), 0)));
}

export function plot(model, place) {
  const { frame } = place;
  const drawing = svg("svg", { viewBox: `0 0 ${frame.width} ${frame.height}`, "aria-hidden": "true" }, hatch(), grid(place));
  drawing.append(...blanks(model, place), ...areas(model, place), ...model.lines.map((line) => drawnLine(line, place)), ...marks(model, place));
  return drawing;
}

// Delayed jobs are hatched, so that they differ without color too.
function hatch() {
  return svg("defs", {}, svg("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("rect", { class: "hatch-ground", width: 6, height: 6 }), svg("line", { class: "hatch", x1: 0, x2: 0, y1: 0, y2: 6 })));
}

function grid({ frame, from, to, x, jobs, pods, jobTicks, podTicks, unit }) {
  const lines = jobTicks.map((number) => [
    svg("line", { class: number ? "grid" : "grid base", x1: frame.left, x2: frame.right, y1: jobs(number), y2: jobs(number) }),
    svg("text", { x: frame.left - 6, y: jobs(number) + 4, "text-anchor": "end" }, short(number))]);
  const right = podTicks.map((number) => svg("text", { class: "pods-scale", x: frame.right + 6, y: pods(number) + 4 }, count(number)));
  const times = timeTicks(from, to, frame.width / 90).map((time) =>
    svg("text", { x: x(time), y: frame.bottom + 15, "text-anchor": "middle" }, clock(time, to - from <= 400)));
  const titles = [svg("text", { x: 0, y: 11 }, unit), podTicks.length ? svg("text", { class: "pods-scale", x: frame.width, y: 11, "text-anchor": "end" }, "pods") : null];
  return svg("g", {}, lines, right, times, titles);
}

const short = (number) => (number >= 10000 ? `${Number((number / (number >= 1e6 ? 1e6 : 1e3)).toFixed(1))}${number >= 1e6 ? "M" : "k"}` : count(number));

const visible = (t, from, to) => t.map((time) => time >= from && time <= to);

// A grey background where the numbers of jobs are unknown.
function blanks({ stacks, now: to }, { frame, from, x }) {
  if (!stacks.length) return [];
  const { t } = stacks[0];
  const drawn = runs(t, (index) => t[index] >= from && stacks.every(({ values }) => known(values[index])));
  const edges = [from, ...drawn.flatMap((run) => [t[run[0]], t[run.at(-1)]]), to];
  const gaps = [];
  for (let index = 0; index < edges.length; index += 2) gaps.push([edges[index], edges[index + 1]]);
  return gaps.filter(([start, end]) => x(end) - x(start) > 6 && end - start > (end === to ? NOW_S : SAMPLE_S)).map(([start, end], index) => svg("g", {},
    svg("rect", { class: "blank", x: fixed(x(start)), y: frame.top, width: fixed(x(end) - x(start)), height: frame.bottom - frame.top }),
    x(end) - x(start) > 90 ? svg("text", { x: (x(start) + x(end)) / 2, y: (frame.top + frame.bottom) / 2, "text-anchor": "middle" }, index === 0 && start === from ? "not recorded" : "unknown") : null));
}

function areas({ stacks }, { from, to, x, jobs }) {
  if (!stacks.length) return [];
  const { t } = stacks[0];
  const seen = visible(t, from, to);
  const drawn = runs(t, (index) => seen[index] && stacks.every(({ values }) => known(values[index])));
  const ground = t.map(() => 0);
  return stacks.map((stack) => {
    const lower = [...ground];
    stack.values.forEach((value, index) => (ground[index] += value ?? 0));
    const path = drawn.map((run) => areaPath(run.map((index) => [x(t[index]), jobs(ground[index])]), run.map((index) => [x(t[index]), jobs(lower[index])]))).join("");
    return svg("path", { class: `area ${stack.key}`, d: path });
  });
}

function drawnLine(line, place) {
  const rise = line.side === "pods" ? place.pods : place.jobs;
  const seen = visible(line.t, place.from, place.to);
  const drawn = runs(line.t, (index) => seen[index] && known(line.values[index]));
  const path = drawn.map((run) => linePath(run.map((index) => [place.x(line.t[index]), rise(line.values[index])]), line.step)).join("");
  return svg("path", { class: `line ${line.key}`, d: path });
}

// Each event has a mark, with its text where there is room; the list and the crosshair always show the text.
function marks({ events }, { frame, from, to, x }) {
  let free = frame.left;
  const drawn = events.filter(({ t }) => t >= from && t <= to).sort((a, b) => a.t - b.t);
  return drawn.map((event, index) => {
    const at = fixed(x(event.t));
    const next = drawn[index + 1] ? x(drawn[index + 1].t) : frame.right;
    const text = event.text.length > 32 ? `${event.text.slice(0, 31)}…` : event.text;
    const fits = at >= free && at + 9 + text.length * LETTER_PX < Math.max(next, at) && at + 9 + text.length * LETTER_PX < frame.right;
    if (fits) free = at + 14 + text.length * LETTER_PX;
    const [kind, shape] = MARKS[event.kind] ?? ["", "h10l-5,8Z"];
    return svg("g", { class: `happened ${kind}` }, svg("title", {}, event.text),
      svg("line", { x1: at, x2: at, y1: 20, y2: frame.bottom }), svg("path", { d: `M${at - 5},14${shape}` }),
      fits ? svg("text", { x: at + 8, y: 22 }, text) : null);
  });
}
