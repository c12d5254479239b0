// The load lab: so many jobs at such a rate; what the autoscaler should make of them, and what it does.

import { act, ask, readOnly } from "./api.js";
import { placeKey, places } from "./actions.js";
import { openDialog } from "./dialogs.js";
import { h, setText } from "./dom.js";
import { toast } from "./toasts.js";
import { ago, capital, count, plural } from "./words.js";

export class Lab {
  constructor(place, query) {
    Object.assign(this, { place, query, state: null });
    if (readOnly) return;
    this.said = h("p", {}, "");
    this.start = h("button", { type: "button", class: "main", onclick: () => this.open() }, "Put a load…");
    this.stop = h("button", { type: "button", class: "destroys", hidden: true, onclick: () => this.end() }, "Stop putting");
    this.bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "jobs put" });
    place.classList.add("fields");
    place.replaceChildren(this.said, this.bar, h("div", { class: "actions" }, this.start, this.stop));
  }

  show(state, autoscaler, now) {
    this.state = state;
    this.autoscaler = autoscaler;
    if (readOnly) return;
    const running = Boolean(state?.running);
    this.start.hidden = running;
    this.stop.hidden = !running;
    this.bar.hidden = !state;
    if (state) {
      this.bar.max = state.of;
      this.bar.value = state.put;
    }
    setText(this.said, words(state, now));
  }

  // What it should come to, over what it comes to.
  lines(state) {
    const told = state?.predicted ?? [];
    if (!told.length) return [];
    return [{ key: "predicted", label: "pods predicted", side: "pods", step: true, ahead: true, t: told.map(({ t }) => t), values: told.map(({ pods }) => pods) }];
  }

  async open() {
    const { servers = [], tubes = [] } = await ask("/api/overview", { size: 100, sort: "tube" }).catch(() => ({}));
    const likely = tubes.filter((row) => row.autoscalers.some((one) => one.name === this.query.name && one.namespace === this.query.namespace));
    const first = likely[0] ?? { server: servers[0]?.name, member: servers[0]?.member };
    openDialog({
      title: "Put a load",
      live: ({ jobs, perSecond }) => (jobs > 0 && perSecond > 0 ? `${plural(jobs, "job")} in about ${count(Math.ceil(jobs / perSecond))} s. They are real jobs: the workers of that tube get them.` : ""),
      fields: [
        { name: "tube", label: "Into tube", kind: "text", required: true, value: likely[0]?.tube ?? "", suggestions: [...new Set(tubes.map((row) => row.tube))] },
        ...(servers.length > 1 ? [{ name: "where", label: "On server", kind: "choice", value: placeKey(first.server, first.member), options: places(servers) }] : []),
        { name: "jobs", label: "Jobs", kind: "number", value: 100, min: 1, max: 100000 },
        { name: "perSecond", label: "A second", kind: "number", value: 10, min: 1, max: 1000 },
        { name: "bodyBytes", label: "Bytes each", kind: "number", value: 16, min: 0, max: 65535 },
      ],
      problem: ({ tube }) => (tube.trim() ? "" : "which tube"),
      button: "Put them",
      run: ({ where, tube, ...rest }) => {
        const [server, member] = where ? JSON.parse(where) : [first.server, first.member];
        return act("lab-start", { server, member, tube: tube.trim(), ...rest, ...this.query });
      },
    });
  }

  async end() {
    try {
      toast((await act("lab-stop", { ...this.query })).message);
    } catch (refusal) {
      toast(refusal.message, false);
    }
  }
}

function words(state, now) {
  if (!state) return "Puts jobs at a rate, predicts the pods, and draws what happens over the prediction.";
  const { put, of, perSecond, startedAt, running, tube, trouble, assumption } = state;
  const how = running ? `${count(perSecond)} a second` : `started ${ago(now - startedAt)}`;
  const told = [`${count(put)} of ${plural(of, "job")} put into ${tube}, ${how}`, trouble, state.predicted.length ? "the dotted line is what is predicted" : "", assumption];
  return `${told.filter(Boolean).map(capital).join(". ")}.`;
}
