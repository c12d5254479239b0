// Converts numbers to positions: round ticks, and lines with gaps where values are unknown.

import { known } from "./words.js";

// 0 and at most `most` round steps up to the first one that holds `top`
export function ticks(top, most, integers = true) {
  const rough = Math.max(top, integers ? 1 : 0.1) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 2.5, 5, 10].find((one) => one * power >= rough && (!integers || Number.isInteger(one * power) || one * power < 1));
  const step = integers ? Math.max(1, Math.ceil(factor * power)) : factor * power;
  const found = [0];
  while (found.at(-1) < top || found.length < 2) found.push(found.at(-1) + step);
  return found;
}

// times at round clock values within [from, to]
export function timeTicks(from, to, most) {
  const step = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800].find((one) => (to - from) / one <= most) ?? 3600;
  const found = [];
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) found.push(t);
  return found;
}

// Runs of [index, …] in which `is(index)` holds and no sample is missing; `t` rises.
export function runs(t, is) {
  const usual = usualStep(t);
  const found = [];
  for (let index = 0; index < t.length; index += 1) {
    if (!is(index)) continue;
    if (index === 0 || !is(index - 1) || t[index] - t[index - 1] > 4 * usual) found.push([]);
    found.at(-1).push(index);
  }
  return found;
}

function usualStep(t) {
  const steps = t.slice(1).map((time, index) => time - t[index]).sort((a, b) => a - b);
  return Math.max(1, steps[Math.floor(steps.length / 2)] ?? 1);
}

// The sample nearest to a time, -1 where none is near.
export function nearest(t, time, within) {
  let low = 0;
  let high = t.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (t[middle] < time) low = middle + 1;
    else high = middle;
  }
  const candidates = [low - 1, low].filter((index) => index in t && Math.abs(t[index] - time) <= within);
  return candidates.sort((a, b) => Math.abs(t[a] - time) - Math.abs(t[b] - time))[0] ?? -1;
}

export const fixed = (number) => Number(number.toFixed(1));

// `step`: a number of pods holds until it changes, it never slopes
export function linePath(points, step) {
  return points.map(([x, y], index) => {
    if (index === 0) return points.length === 1 ? `M${fixed(x - 1)},${fixed(y)}H${fixed(x + 1)}` : `M${fixed(x)},${fixed(y)}`;
    return step ? `H${fixed(x)}V${fixed(y)}` : `L${fixed(x)},${fixed(y)}`;
  }).join("");
}

export function areaPath(upper, lower) {
  const back = [...lower].reverse();
  return `M${[...upper, ...back].map(([x, y]) => `${fixed(x)},${fixed(y)}`).join("L")}Z`;
}

export const highest = (lists) => lists.reduce((top, values) => values.reduce((best, value) => (known(value) && value > best ? value : best), top), 0);
