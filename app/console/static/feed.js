// The live feed of one page. Lost: it says so and tries again; hidden: it is closed, so a sleeping tab costs nothing.

import { address, ask, initial, signIn } from "./api.js";
import { setText } from "./dom.js";

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15000;
const SILENCE_MS = 30000; // the server says something more often than that

const sign = document.getElementById("connection");

// feed("tube", {server, name}, update): `update` gets the page's JSON, first what the server rendered.
export function feed(page, query, update) {
  const one = new Feed(page, query, update);
  document.addEventListener("visibilitychange", () => one.shown(!document.hidden));
  addEventListener("pagehide", () => one.close());
  addEventListener("pageshow", (event) => event.persisted && one.open());
  update(initial());
  if (!document.hidden) one.open();
  return one;
}

class Feed {
  constructor(page, query, update) {
    Object.assign(this, { page, query, update, source: null, timer: 0, silence: 0, waitMs: FIRST_WAIT_MS });
  }

  // Another search, sort or page: the first update of the new feed comes at once.
  ask(query) {
    this.query = query;
    if (!document.hidden) this.open();
  }

  shown(visible) {
    if (visible) this.open();
    else {
      this.close();
      say("resting", "resting while hidden");
    }
  }

  open() {
    this.close();
    const source = new EventSource(address("/events", { page_name: this.page, ...this.query }));
    this.source = source;
    source.addEventListener("update", (event) => this.heard(JSON.parse(event.data)));
    source.addEventListener("problem", (event) => this.reported(JSON.parse(event.data)));
    source.addEventListener("bye", () => this.ended());
    source.addEventListener("error", () => this.lost());
    this.listen();
  }

  close() {
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    this.source?.close();
    this.source = null;
  }

  heard(state) {
    this.waitMs = FIRST_WAIT_MS;
    say("live", "live");
    this.listen();
    this.update(state);
  }

  // The page's subject isn't there any more; it may come back.
  reported({ error }) {
    this.listen();
    say("trouble", error);
  }

  listen() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.source && this.silent(), SILENCE_MS);
  }

  // Nothing changed, or the network dropped us without a word: asking tells.
  silent() {
    ask(`/api/${this.page}`, this.query).then((state) => this.source && this.heard(state), (refusal) => this.lost(refusal));
  }

  lost(refusal = null) {
    this.close();
    say("lost", refusal?.status ? refusal.message : "connection to the console lost, trying again");
    this.timer = setTimeout(() => this.again(), this.waitMs);
    this.waitMs = Math.min(this.waitMs * 2, LONGEST_WAIT_MS);
  }

  // An EventSource doesn't tell a lost network from an ended session, so ask first: 401 leads to the sign-in page. Where no feed
  // comes after all, as when too many pages are open, the page stays current by these answers.
  again() {
    ask(`/api/${this.page}`, this.query).then((state) => {
      if (document.hidden) return;
      this.update(state);
      this.open();
    }, (refusal) => this.lost(refusal));
  }

  ended() {
    this.close();
    say("lost", "signed out");
    signIn();
  }
}

function say(state, words) {
  if (sign.dataset.state !== state) sign.dataset.state = state;
  setText(sign, words);
}
