// Finds jobs of this tube by text in their bodies, or its newest jobs. Each result links to its card.

import { address, ask } from "./api.js";
import { h, setText } from "./dom.js";
import { ago, bytes, timeLeft } from "./words.js";

const part = (id) => document.getElementById(id);

export class Finder {
  // `query` names the tube; `open(id)` shows the card of a job.
  constructor(query, open) {
    Object.assign(this, { query, open, text: "", before: null, requests: 0, loading: false });
    part("find").addEventListener("submit", (event) => {
      event.preventDefault();
      this.begin(part("find-text").value);
    });
    part("newest").addEventListener("click", () => this.begin(""));
    part("go-on").addEventListener("click", () => this.loading || this.load());
  }

  begin(text) {
    Object.assign(this, { text, before: null });
    part("hits").replaceChildren();
    return this.load();
  }

  // After a restart of beanstalkd, the IDs found may be those of other jobs.
  restarted() {
    if (!part("hits").children.length && !this.loading) return;
    this.requests += 1;
    Object.assign(this, { before: null, loading: false });
    part("hits").replaceChildren();
    this.report("beanstalkd restarted, so the IDs found may be those of other jobs. Search again.");
  }

  // The response to an earlier request is ignored.
  async load() {
    const request = ++this.requests;
    this.loading = true;
    this.report("Searching…");
    const found = await ask("/api/find", { ...this.query, q: this.text, before: this.before }).catch((error) => ({ error }));
    if (request !== this.requests) return;
    this.loading = false;
    if (found.error) this.report(found.error.message);
    else this.show(found);
  }

  show(found) {
    const goesOn = document.activeElement === part("go-on");
    const hits = found.jobs.map((job) => this.hit(job));
    part("hits").append(...hits);
    this.before = found.before;
    this.report(found.summary);
    if (goesOn && hits.length) hits[0].querySelector("a").focus();
  }

  report(sentence) {
    setText(part("find-summary"), sentence);
    part("hits").hidden = !part("hits").children.length;
    part("go-on").hidden = this.before === null;
    setText(part("go-on"), `Continue below ID ${this.before}`);
  }

  hit(job) {
    const open = (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return; // opens another tab
      event.preventDefault();
      this.open(job.id);
    };
    const link = h("a", { href: address("/tube", { ...this.query, job: job.id }), "data-row-link": true, onclick: open }, `job ${job.id}`);
    return h("li", {}, h("div", { class: "headline" }, link, h("span", { class: "quiet" }, `${job.state}${job.state === "reserved" ? `, ${timeLeft("reserved", job.timeLeft).join(" ")}` : ""} · put ${ago(job.age)} · ${bytes(job.size)}`)),
      job.size === 0 ? h("span", { class: "quiet" }, "The body is empty.") : h("code", {}, job.beginning));
  }
}
