// Shows the chart's values at one moment: under the pointer, or by the arrow keys.

import { h, svg } from "./dom.js";
import { nearest } from "./scale.js";
import { UNKNOWN, amount, clock, known } from "./words.js";

// Numbers of all series at a time: [[label, text], …] and the events beside it.
export function valuesAt(model, time, within) {
  const series = [...model.stacks, ...model.lines];
  const rows = series.map((one) => {
    const index = nearest(one.t, time, within);
    const value = index < 0 ? null : one.values[index];
    return [one.label, known(value) ? amount(value) : UNKNOWN];
  });
  return { rows, events: model.events.filter(({ t }) => Math.abs(t - time) <= within) };
}

export class Crosshair {
  constructor(box) {
    this.box = box;
    this.time = null;
    this.readout = h("div", { class: "readout", hidden: true });
    this.spoken = h("p", { class: "unseen", role: "status" });
    box.after(this.spoken);
    box.addEventListener("pointermove", (event) => this.at(event));
    box.addEventListener("pointerleave", () => this.leave());
    box.addEventListener("blur", () => this.leave());
    box.addEventListener("keydown", (event) => this.key(event));
  }

  // A new drawing: the crosshair stays where it was.
  draw(model, place, drawing) {
    Object.assign(this, { model, place });
    this.line = svg("line", { class: "cross", y1: place.frame.top, y2: place.frame.bottom, visibility: "hidden" });
    drawing.append(this.line);
    this.box.replaceChildren(drawing, this.readout);
    if (this.time !== null) this.move(Math.min(Math.max(this.time, place.from), place.to));
  }

  at(event) {
    const { frame, from, to } = this.place;
    const x = event.clientX - this.box.getBoundingClientRect().left;
    const part = (x - frame.left) / (frame.right - frame.left);
    if (part < -0.02 || part > 1.02) this.leave();
    else this.move(from + Math.min(1, Math.max(0, part)) * (to - from));
  }

  key(event) {
    const { from, to } = this.place;
    const step = (to - from) / (event.shiftKey ? 12 : 120);
    const here = this.time ?? to;
    const to_ = { ArrowLeft: here - step, ArrowRight: here + step, Home: from, End: to }[event.key];
    if (event.key === "Escape") this.leave();
    if (to_ === undefined) return;
    event.preventDefault();
    this.move(Math.min(Math.max(to_, from), to));
    this.spoken.textContent = this.readout.textContent;
  }

  move(time) {
    this.time = time;
    const { frame, x, from, to } = this.place;
    const at = x(time);
    this.line.setAttribute("x1", at);
    this.line.setAttribute("x2", at);
    this.line.setAttribute("visibility", "visible");
    const { rows, events } = valuesAt(this.model, time, Math.max(8, (to - from) / 150));
    this.readout.replaceChildren(h("p", {}, clock(time), " "), h("dl", {}, rows.map(([label, text]) => [h("dt", {}, label, " "), h("dd", { class: text === UNKNOWN ? "unknown" : null }, text, " ")])),
      ...events.map(({ text }) => h("p", {}, text, " ")));
    this.readout.hidden = false;
    const width = this.readout.offsetWidth;
    const left = at + 14 + width > frame.width ? at - 14 - width : at + 14;
    this.readout.style.left = `${Math.max(0, left)}px`;
  }

  leave() {
    this.time = null;
    this.readout.hidden = true;
    this.line?.setAttribute("visibility", "hidden");
  }
}
