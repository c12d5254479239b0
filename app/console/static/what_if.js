// The slider: what if one pod were for another number of jobs.

import { ask } from "./api.js";
import { h, setText } from "./dom.js";
import { amount, plural } from "./words.js";

const REST_MS = 150;

export class WhatIf {
  constructor(place, query) {
    Object.assign(this, { place, query, slider: null, timer: 0, target: null });
  }

  // Made once, when the present target is known; later updates only renew the answer.
  show(autoscaler, series) {
    const target = Number(series?.target ?? autoscaler?.metrics.find(({ source }) => source === "External")?.target.amount);
    if (!(target > 0)) return setText(this.place, "It has no metric with a target to try.");
    this.target = target;
    this.pods = autoscaler?.decision.pods;
    if (!this.slider) this.make(target);
    if (Number(this.slider.value) !== target) this.later();
    else this.same();
    return null;
  }

  make(target) {
    const most = Math.max(10, Math.ceil(target * 5));
    const step = target < 2 ? 0.1 : 1;
    this.slider = h("input", { type: "range", id: "target", min: step, max: most, step, value: target, oninput: () => this.later() });
    this.slider.value = target;
    this.answer = h("output", { class: "answer", for: "target" });
    this.place.classList.add("fields");
    this.place.replaceChildren(h("label", { for: "target" }, "Jobs for each pod (the target)"), this.slider, this.answer,
      h("small", { class: "quiet" }, `Only tried here: the autoscaler keeps its target ${amount(target)}. Its limits, policies and tolerance are taken into account.`));
  }

  same() {
    setText(this.answer, `target ${amount(this.target)} → ${plural(this.pods, "pod")}, as it is`);
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), REST_MS);
  }

  async look() {
    const tried = this.slider.value;
    try {
      const { whatIf } = await ask("/api/autoscaler", { ...this.query, target: tried });
      if (tried !== this.slider.value) return;
      setText(this.answer, whatIf ? `target ${amount(whatIf.target)} → ${plural(whatIf.pods, "pod")}` : "unknown");
    } catch (refusal) {
      setText(this.answer, refusal.message);
    }
  }
}
