// The live feed of one page. It reconnects after a failure, and is closed while the page is hidden.

import { address, ask, initial, signIn } from "./api.js";
import { setText } from "./dom.js";

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15000;
const SILENCE_MS = 30000; // the server sends more often than that

const sign = document.getElementById("connection");

// feed("tube", {server, name}, update): `update` gets the page's JSON, first the data that the server rendered.
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

  // Another search, sort or page: the first update of the new feed comes immediately.
  ask(query) {
    this.query = query;
    if (!document.hidden) this.open();
  }

  shown(visible) {
    if (visible) this.open();
    else {
      this.close();
      say("paused", "paused while hidden");
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

  // The page's subject no longer exists; it may come back.
  reported({ error }) {
    this.listen();
    say("problem", error);
  }

  listen() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.source && this.silent(), SILENCE_MS);
  }

  // Either nothing changed or the network dropped the connection silently: a request shows which.
  silent() {
    ask(`/api/${this.page}`, this.query).then((state) => this.source && this.heard(state), (error) => this.lost(error));
  }

  lost(error = null) {
    this.close();
    say("lost", error?.status ? error.message : "connection to the console lost, retrying");
    this.timer = setTimeout(() => this.again(), this.waitMs);
    this.waitMs = Math.min(this.waitMs * 2, LONGEST_WAIT_MS);
  }

  // An EventSource doesn't distinguish a lost network from an ended session, so ask first: 401 leads to the sign-in page. If no feed
  // comes, for example because too many pages are open, these responses keep the page current.
  again() {
    ask(`/api/${this.page}`, this.query).then((state) => {
      if (document.hidden) return;
      this.update(state);
      this.open();
    }, (error) => this.lost(error));
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
