// The jobs that come next: one card each for ready, delayed and buried.

import { ask, readOnly } from "./api.js";
import { h, setAttribute } from "./dom.js";
import { jobActions } from "./job_actions.js";
import { forms } from "./payload.js";
import { bytes, capital, count, plural, span } from "./words.js";

const STATES = [["ready", "Next ready job"], ["delayed", "Next delayed job"], ["buried", "Next buried job"]];
const REST_MS = 2000;
const NAMES = { text: "Text", json: "JSON", hex: "Hex" };

// Looks when the tube changed, not more often than every two seconds, and not under somebody who reads a card.
export class Jobs {
  constructor(place, query, tube) {
    Object.assign(this, { place, query, tube, seen: "", shown: "", lookedAt: -REST_MS, timer: 0, chosen: {} });
  }

  tubeChanged(row) {
    const now = ["ready", "reserved", "delayed", "buried", "putPerSecond", "deletedPerSecond"].map((key) => row[key]).join();
    if (now === this.seen || this.timer) return;
    const wait = Math.max(0, this.lookedAt + REST_MS - performance.now());
    this.timer = setTimeout(() => {
      this.timer = 0;
      if (this.isRead()) return;
      this.seen = now;
      this.look();
    }, wait);
  }

  isRead() {
    return this.shown !== "" && (this.place.matches(":hover") || this.place.contains(document.activeElement));
  }

  async look() {
    this.lookedAt = performance.now();
    try {
      this.show(await ask("/api/jobs", this.query));
    } catch (refusal) {
      this.show({ error: refusal.message });
    }
  }

  // Any job of this beanstalkd by its id, whatever its tube and state.
  async find(place, id) {
    place.hidden = false;
    try {
      const job = await ask("/api/job", { ...this.query, id });
      const ours = job.tube === this.tube.name;
      const changed = () => Promise.all([this.look(), this.find(place, id)]);
      const here = { ...this.tube, name: job.tube, row: ours ? this.tube.row : null, changed };
      const title = `${capital(job.state)} job${ours ? "" : ` in tube ${job.tube}`}`;
      place.replaceChildren(this.card(job.state, title, job, here));
    } catch (refusal) {
      place.replaceChildren(h("p", { class: "note" }, refusal.message));
    }
  }

  show(told) {
    const now = JSON.stringify(told, (key, value) => (["age", "born", "timeLeft"].includes(key) ? undefined : value));
    if (now === this.shown) return;
    this.shown = now;
    if (told.error) this.place.replaceChildren(h("p", { class: "note trouble" }, `The jobs are unknown: ${told.error}`));
    else this.place.replaceChildren(...STATES.map(([state, title]) => this.card(state, title, told[state])));
  }

  card(state, title, job, tube = this.tube) {
    const heading = h("h3", {}, title, job ? h("span", {}, `job ${job.id}`) : null);
    if (!job) return h("article", { class: `card job ${state}` }, heading, h("p", { class: "quiet" }, `No job is ${state}.`));
    return h("article", { class: `card job ${state}`, "data-job": job.id }, heading, this.body(state, job), stats(job),
      readOnly || state === "reserved" ? null : h("div", { class: "actions" }, jobActions(job, state, tube)));
  }

  body(state, job) {
    const told = forms(job);
    const shown = this.chosen[state] in told ? this.chosen[state] : job.form;
    const text = h("pre", { tabindex: 0, role: "region", "aria-label": `body of job ${job.id}` }, told[shown]);
    const buttons = Object.keys(NAMES).filter((form) => form in told).map((form) =>
      h("button", { type: "button", class: "quiet", "aria-pressed": form === shown ? "true" : "false", onclick: (event) => choose(form, event.target) }, NAMES[form]));
    const choose = (form, button) => {
      this.chosen[state] = form;
      text.textContent = told[form];
      buttons.forEach((one) => setAttribute(one, "aria-pressed", one === button ? "true" : "false"));
    };
    const size = job.truncated ? `first ${bytes(job.shown)} of ${bytes(job.size)}` : bytes(job.size);
    return h("div", { class: "fields" }, h("div", { class: "forms", role: "group", "aria-label": "Show the body as" }, buttons, h("span", { class: "quiet" }, size)),
      job.size === 0 ? h("p", { class: "quiet" }, "Its body is empty.") : text);
  }
}

function stats(job) {
  const left = job.state === "delayed" ? [["ready in", span(job.timeLeft)]] : [];
  const told = [["priority", count(job.pri)], ["age", span(job.age)], ...left, ["time to run", span(job.ttr)], ["reserved", times(job.reserves)],
    ["timed out", times(job.timeouts)], ["released", times(job.releases)], ["buried", times(job.buries)], ["kicked", times(job.kicks)]];
  return h("dl", { class: "facts" }, told.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

const times = (number) => (number === 0 ? "never" : number === 1 ? "once" : plural(number, "time"));
