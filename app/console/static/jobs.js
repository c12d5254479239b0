// The next jobs of a tube: one card each for ready, delayed and buried. A body is always text to read, never markup or code.

import { jobActions } from "./actions.js";
import { ask, readOnly } from "./api.js";
import { h, setAttribute, setText } from "./dom.js";
import { bytes, capital, count, duration, plural, timeLeft } from "./words.js";

const STATES = [["ready", "Next ready job"], ["delayed", "Next delayed job"], ["buried", "Next buried job"]];
const PERIOD_MS = 2000;
const FORMS = { text: "Text", json: "JSON", hex: "Hex" };

const UNSEEN = /(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

// Reloads when the tube changed, at most every two seconds, and not while someone reads a card.
export class Jobs {
  constructor(place, query, tube) {
    Object.assign(this, { place, query, tube, seen: "", shown: "", loadedAt: -PERIOD_MS, timer: 0, chosen: {} });
  }

  tubeChanged(row) {
    const now = ["ready", "reserved", "delayed", "buried", "putPerSecond", "deletedPerSecond", "late"].map((key) => row[key]).join();
    if (now === this.seen || this.timer) return;
    const wait = Math.max(0, this.loadedAt + PERIOD_MS - performance.now());
    this.timer = setTimeout(() => {
      this.timer = 0;
      if (this.isInUse()) return;
      this.seen = now;
      this.load();
    }, wait);
  }

  isInUse() {
    return this.shown !== "" && (this.place.matches(":hover") || this.place.contains(document.activeElement));
  }

  async load() {
    this.loadedAt = performance.now();
    try {
      this.show(await ask("/api/jobs", this.query));
    } catch (error) {
      this.show({ error: error.message });
    }
  }

  // Any job of this beanstalkd by its id, whatever its tube and state.
  async find(place, id) {
    place.hidden = false;
    try {
      const job = await ask("/api/job", { ...this.query, id });
      const ours = job.tube === this.tube.name;
      const changed = () => Promise.all([this.load(), this.find(place, id)]);
      const here = { ...this.tube, name: job.tube, row: ours ? this.tube.row : null, changed };
      const title = `${capital(job.state)} job${ours ? "" : ` in tube ${job.tube}`}`;
      place.replaceChildren(this.card(job.state, title, job, here));
    } catch (error) {
      place.replaceChildren(h("p", { class: "note" }, error.message));
    }
  }

  show(jobs) {
    const now = JSON.stringify(jobs, (key, value) => (["age", "born", "timeLeft"].includes(key) ? undefined : value));
    if (now === this.shown) return;
    this.shown = now;
    if (jobs.error) this.place.replaceChildren(h("p", { class: "note error" }, `The jobs are unknown: ${jobs.error}`));
    else this.place.replaceChildren(...STATES.map(([state, title]) => this.card(state, title, jobs[state])));
  }

  card(state, title, job, tube = this.tube) {
    const heading = h("h3", {}, title, job ? h("span", {}, `job ${job.id}`) : null);
    if (!job) return h("article", { class: `card job ${state}` }, heading, h("p", { class: "quiet" }, `No ${state} jobs.`));
    return h("article", { class: `card job ${state}`, "data-job": job.id }, heading, this.body(state, job), stats(job),
      readOnly || state === "reserved" ? null : h("div", { class: "actions" }, jobActions(job, state, tube)));
  }

  body(state, job) {
    const texts = forms(job);
    const shown = this.chosen[state] in texts ? this.chosen[state] : job.form;
    const text = h("pre", { tabindex: 0, role: "region", "aria-label": `body of job ${job.id}` }, texts[shown]);
    const buttons = Object.keys(FORMS).filter((form) => form in texts).map((form) =>
      h("button", { type: "button", class: "quiet", "aria-pressed": form === shown ? "true" : "false", onclick: (event) => choose(form, event.target) }, FORMS[form]));
    const choose = (form, button) => {
      this.chosen[state] = form;
      text.textContent = texts[form];
      buttons.forEach((one) => setAttribute(one, "aria-pressed", one === button ? "true" : "false"));
    };
    const size = job.truncated ? `first ${bytes(job.shown)} of ${bytes(job.size)}` : bytes(job.size);
    return h("div", { class: "fields" }, h("div", { class: "forms", role: "group", "aria-label": "Body format" }, buttons, h("span", { class: "quiet" }, size)),
      job.size === 0 ? h("p", { class: "quiet" }, "The body is empty.") : text);
  }
}

function stats(job) {
  const left = ["delayed", "reserved"].includes(job.state) ? [timeLeft(job.state, job.timeLeft)] : [];
  const facts = [["priority", count(job.pri)], ["age", duration(job.age)], ...left, ["time to run", duration(job.ttr)], ["reserved", times(job.reserves)],
    ["timed out", times(job.timeouts)], ["released", times(job.releases)], ["buried", times(job.buries)], ["kicked", times(job.kicks)]];
  const list = h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  if (left.length) countDown(list.children[2], job);
  return list;
}

// Until the card is replaced.
function countDown(element, job) {
  const loadedAt = performance.now();
  const timer = setInterval(() => {
    if (!element.isConnected) return clearInterval(timer);
    const parts = timeLeft(job.state, job.timeLeft - Math.round((performance.now() - loadedAt) / 1000));
    return parts.forEach((text, index) => setText(element.children[index], text));
  }, 1000);
}

const times = (number) => (number === 0 ? "never" : number === 1 ? "once" : plural(number, "time"));

// Shows invisible characters, and those that change the direction of the text, as ␛ or ⟦U+202E⟧: no body looks other than it is.
function visible(text) {
  return text.replaceAll("\r\n", "\n").replace(UNSEEN, (one) => {
    const code = one.codePointAt(0);
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `⟦U+${code.toString(16).toUpperCase().padStart(4, "0")}⟧`;
  });
}

// {form: text}: the form that the server chose, and text and hex from the bytes if it sent them.
function forms(job) {
  const texts = { [job.form]: job.form === "hex" ? job.body : visible(job.body) };
  if (!job.raw) return texts;
  const data = Uint8Array.from(job.raw.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  texts.text ??= visible(new TextDecoder().decode(data));
  texts.hex = dump(data);
  return texts;
}

// 000010  61 62 …  ab…
function dump(data) {
  const lines = [];
  for (let start = 0; start < data.length; start += 8) {
    const row = data.subarray(start, start + 8);
    const pairs = Array.from(row, (byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(23);
    const letters = Array.from(row, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${start.toString(16).padStart(6, "0")}  ${pairs}  ${letters}`);
  }
  return lines.join("\n");
}
