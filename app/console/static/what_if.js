// The slider: computes the pod count for another target.

import { ask } from "./api.js";
import { h, setText } from "./dom.js";
import { amount, plural } from "./words.js";

const DELAY_MS = 150;

// "Jobs per pod (the target)", "Seconds (the target)", or, of a metric whose unit isn't known, "Target per pod".
function labelOf(unit, type) {
  const per = type === "AverageValue" ? " per pod" : "";
  return unit ? `${unit[0].toUpperCase()}${unit.slice(1)}${per} (the target)` : `Target${per}`;
}

export class WhatIf {
  constructor(place, query) {
    Object.assign(this, { place, query, slider: null, timer: 0, target: null });
  }

  // Created once the current target is known; later updates only change the result.
  show(autoscaler, series) {
    const external = autoscaler?.metrics.find(({ source }) => source === "External");
    const target = Number(series?.target ?? external?.target.amount);
    if (!(target > 0)) return setText(this.place, "This autoscaler has no metric with a target to try.");
    this.target = target;
    this.label = labelOf(series?.unit, external?.target.type);
    this.pods = autoscaler?.decision.pods;
    if (!this.slider) this.make(target);
    setText(this.place.firstElementChild, this.label);
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
    this.place.replaceChildren(h("label", { for: "target" }, this.label), this.slider, this.answer,
      h("small", { class: "quiet" }, `Simulation only: the autoscaler keeps its target ${amount(target)}. Limits, policies and tolerance are included.`));
  }

  same() {
    setText(this.answer, `target ${amount(this.target)} → ${plural(this.pods, "pod")}, as now`);
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), DELAY_MS);
  }

  async load() {
    const tried = this.slider.value;
    try {
      const { whatIf } = await ask("/api/autoscaler", { ...this.query, target: tried });
      if (tried !== this.slider.value) return;
      setText(this.answer, whatIf ? `target ${amount(whatIf.target)} → ${plural(whatIf.pods, "pod")}` : "unknown");
    } catch (error) {
      setText(this.answer, error.message);
    }
  }
}
