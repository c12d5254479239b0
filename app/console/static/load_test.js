// The load test: puts jobs at a fixed rate, and charts predicted and actual pods.

import { serverField } from "./actions.js";
import { act, ask, readOnly } from "./api.js";
import { openDialog, toast } from "./dialogs.js";
import { h, setText } from "./dom.js";
import { ago, capital, count, plural } from "./words.js";

export class LoadTest {
  constructor(place, query) {
    this.query = query;
    if (readOnly) return;
    this.summary = h("p", {}, "");
    this.start = h("button", { type: "button", class: "main", onclick: () => this.open() }, "Start…");
    this.stop = h("button", { type: "button", class: "destroys", hidden: true, onclick: () => this.end() }, "Stop");
    this.bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "jobs put" });
    place.classList.add("fields");
    place.replaceChildren(this.summary, this.bar, h("div", { class: "actions" }, this.start, this.stop));
  }

  show(state, now) {
    if (readOnly) return;
    const running = Boolean(state?.running);
    this.start.hidden = running;
    this.stop.hidden = !running;
    this.bar.hidden = !state;
    if (state) {
      this.bar.max = state.of;
      this.bar.value = state.put;
    }
    setText(this.summary, summary(state, now));
  }

  async open() {
    const { servers = [], tubes = [] } = await ask("/api/overview", { size: 100, sort: "tube" }).catch(() => ({}));
    const likely = tubes.find((row) => row.autoscalers.some((one) => one.name === this.query.name && one.namespace === this.query.namespace));
    const server = likely?.server ?? servers[0]?.name;
    openDialog({
      title: "Start a load test",
      live: ({ jobs, perSecond }) => (jobs > 0 && perSecond > 0 ? `Puts ${plural(jobs, "job")} in about ${count(Math.ceil(jobs / perSecond))} s. They are real jobs: the tube's workers reserve them.` : ""),
      fields: [
        { name: "tube", label: "Into tube", kind: "text", required: true, value: likely?.tube ?? "", suggestions: [...new Set(tubes.map((row) => row.tube))] },
        ...serverField(servers, server),
        { name: "jobs", label: "Jobs", kind: "number", value: 100, min: 1, max: 100000 },
        { name: "perSecond", label: "Per second", kind: "number", value: 10, min: 1, max: 1000 },
        { name: "bodyBytes", label: "Bytes per job", kind: "number", value: 16, min: 0, max: 65535 },
      ],
      incomplete: ({ tube }) => !tube.trim(),
      button: "Start",
      run: ({ toServer, tube, ...rest }) => act("load-start", { server: toServer ?? server, tube: tube.trim(), ...rest, ...this.query }),
    });
  }

  async end() {
    try {
      toast((await act("load-stop", {})).message);
    } catch (error) {
      toast(error.message, false);
    }
  }
}

// The prediction as a line of the chart.
export function predictedLines(state) {
  const points = state?.predicted ?? [];
  if (!points.length) return [];
  return [{ key: "predicted", label: "pods predicted", side: "pods", step: true, ahead: true, t: points.map(({ t }) => t), values: points.map(({ pods }) => pods) }];
}

function summary(state, now) {
  if (!state) return "Puts jobs at a fixed rate and charts predicted and actual pods.";
  const { put, of, perSecond, startedAt, running, tube, error, assumption, predicted } = state;
  const how = running ? `${count(perSecond)} per second` : `started ${ago(now - startedAt)}`;
  const clauses = [`${count(put)} of ${plural(of, "job")} put into ${tube}, ${how}`, error, predicted.length ? "the dotted line is the prediction" : "", assumption];
  return `${clauses.filter(Boolean).map(capital).join(". ")}.`;
}
