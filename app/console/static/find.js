// Jobs of this tube by what is in them, or just its newest. Each hit is a link to its card; what was looked at is told.

import { address, ask } from "./api.js";
import { h, setText } from "./dom.js";
import { ago, bytes } from "./words.js";

const part = (id) => document.getElementById(id);

export class Finding {
  // `query` names the tube; `open(id)` shows one job's card
  constructor(query, open) {
    Object.assign(this, { query, open, text: "", before: null, asked: 0, looking: false });
    part("find").addEventListener("submit", (event) => {
      event.preventDefault();
      this.begin(part("find-text").value);
    });
    part("newest").addEventListener("click", () => this.begin(""));
    part("go-on").addEventListener("click", () => this.looking || this.look());
  }

  begin(text) {
    Object.assign(this, { text, before: null });
    part("hits").replaceChildren();
    return this.look();
  }

  // A later question makes the answers to earlier ones void.
  async look() {
    const mine = ++this.asked;
    this.looking = true;
    this.tell("Looking…");
    const answer = await this.answer();
    if (mine !== this.asked) return;
    this.looking = false;
    answer();
  }

  async answer() {
    try {
      const found = await ask("/api/find", { ...this.query, q: this.text, before: this.before });
      return () => this.show(found);
    } catch (refusal) {
      return () => this.tell(refusal.message);
    }
  }

  show(found) {
    const goesOn = document.activeElement === part("go-on");
    const hits = found.jobs.map((job) => this.hit(job));
    part("hits").append(...hits);
    this.before = found.before;
    this.tell(found.told);
    if (goesOn && hits.length) hits[0].querySelector("a").focus();
  }

  tell(sentence) {
    setText(part("find-told"), sentence);
    part("hits").hidden = !part("hits").children.length;
    part("go-on").hidden = this.before === null;
    setText(part("go-on"), `Go on below id ${this.before}`);
  }

  hit(job) {
    const link = h("a", { href: address("/tube", { ...this.query, job: job.id }), "data-row-link": true, onclick: (event) => this.clicked(event, job.id) }, `job ${job.id}`);
    return h("li", {}, h("div", { class: "headline" }, link, h("span", { class: "quiet" }, `${job.state} · put ${ago(job.age)} · ${bytes(job.size)}`)),
      job.size === 0 ? h("span", { class: "quiet" }, "Its body is empty.") : h("code", {}, job.beginning));
  }

  // With a key that opens another tab it stays the browser's link.
  clicked(event, id) {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    this.open(id);
  }
}
