// Converts the API's JSON to a chart's model.

import { known } from "./words.js";

// History has a sample every few seconds; add the last reading. It holds until now, or, of a late server, until it was made.
export function upToNow(history, row, { now, lastRead }) {
  if (!lastRead) return history;
  const last = row.late ? lastRead : { ...lastRead, t: now };
  const at = history.t.findLastIndex((time) => time < last.t) + 1;
  if (!row.late && at < history.t.length) return history;
  return Object.fromEntries(Object.entries(last).map(([key, value]) => [key, history[key].toSpliced(at, 0, value)]));
}

export function jobStacks(history) {
  return [["ready", "ready"], ["reserved", "reserved"], ["delayed", "delayed"]].map(([key, label]) => ({ key, label, t: history.t, values: history[key] }));
}

export const buriedLine = (history) => ({ key: "buried", label: "buried", side: "jobs", t: history.t, values: history.buried });

// The metric as served, target × pods, and the pods; each autoscaler has its own sample times.
// `units`: the left scale's; of a metric with another unit, only the pods are shown.
export function autoscalerLines(one, several = false, units = null) {
  const of = several ? ` (${one.name})` : "";
  const target = Number(one.target);
  const lines = [
    { key: "value", label: `metric as served${of}`, side: "jobs", t: one.t, values: (one.value ?? []).map((value) => (known(value) ? Number(value) : null)) },
    { key: "desired", label: `pods desired${of}`, side: "pods", step: true, t: one.t, values: one.desired },
    { key: "current", label: `pods${of}`, side: "pods", step: true, t: one.t, values: one.current },
  ];
  if (units && !units.includes(one.unit ?? "jobs")) return lines.slice(1);
  if (!known(one.target) || !(target > 0)) return lines;
  const capacity = one.current.map((pods) => (known(pods) ? pods * target : null));
  return [lines[0], { key: "capacity", label: `target × pods${of}`, side: "jobs", step: true, t: one.t, values: capacity }, ...lines.slice(1)];
}
