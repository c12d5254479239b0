// The live feed of one page. It reconnects after a failure, and is closed while the page is hidden.
// The header shows "live" only while data arrives and everything that the page shows can be read; otherwise ages count here, every second.

import { address, ask, initial, signIn } from "./api.js";
import { setAttribute, setClass, setText } from "./dom.js";
import { duration, lastRead, plural } from "./words.js";

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15000;
const TICK_MS = 1000;
const SILENT_MS = 2500; // the server sends something every second
const RECONNECT_MS = 10000;
const RESPONSE_MS = 5000;

const sign = document.getElementById("connection");
const icon = document.querySelector("link[rel=icon]");
const [title, iconAddress] = [document.title, icon.getAttribute("href")];

// feed("tube", {server, name}, update): `update` gets the page's JSON, first the data that the server rendered.
export function feed(page, query, update) {
  const one = new Feed(page, query, update);
  document.addEventListener("visibilitychange", () => one.shown(!document.hidden));
  addEventListener("pagehide", () => one.close());
  addEventListener("pageshow", (event) => event.persisted && one.open());
  if (!document.hidden) one.open();
  return one;
}

class Feed {
  constructor(page, query, update) {
    Object.assign(this, { page, query, update, source: null, timer: 0, waitMs: FIRST_WAIT_MS, state: initial(), heardAt: performance.now(), stateAt: performance.now(), problem: null, lostBecause: null });
    update(this.state);
    setInterval(() => this.tick(), TICK_MS);
  }

  // Another search, sort or page: the first update of the new feed comes immediately.
  ask(query) {
    this.query = query;
    if (!document.hidden) this.open();
  }

  shown(visible) {
    if (visible) {
      this.open();
      this.tick();
    } else {
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
    source.addEventListener("alive", () => this.alive());
    source.addEventListener("bye", () => this.ended());
    source.addEventListener("error", () => this.lost());
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  heard(state) {
    this.waitMs = FIRST_WAIT_MS;
    this.problem = this.lostBecause = null;
    this.state = state;
    this.heardAt = this.stateAt = performance.now();
    this.show();
  }

  // Nothing changed.
  alive() {
    this.heardAt = performance.now();
    if (sign.dataset.state === "lost") this.show();
  }

  // The page's subject no longer exists; it may come back.
  reported({ error }) {
    this.heardAt = performance.now();
    this.problem = error;
    this.lostBecause = null;
    this.show();
  }

  tick() {
    if (document.hidden) return;
    const silentMs = performance.now() - this.heardAt;
    if (this.source && silentMs > RECONNECT_MS) this.lost();
    else if (silentMs > SILENT_MS || this.problem || troubleOf(this.state)) this.show();
  }

  // Without data from the console, everything on the page is old.
  show() {
    const silentMs = performance.now() - this.heardAt;
    const isLost = this.lostBecause !== null || silentMs > SILENT_MS;
    const state = aged(this.state, (performance.now() - this.stateAt) / 1000, isLost);
    if (this.problem) state.problem = this.problem;
    const trouble = troubleOf(state);
    if (isLost) say("lost", this.lostBecause ?? `no data from the console for ${duration(silentMs / 1000)}`);
    else if (this.problem) say("problem", this.problem);
    else if (trouble) say("late", trouble);
    else say("live", "live");
    this.update(state);
  }

  lost(error = null) {
    this.close();
    this.lostBecause = error?.status ? error.message : "connection to the console lost, retrying";
    this.show();
    this.timer = setTimeout(() => this.again(), this.waitMs);
    this.waitMs = Math.min(this.waitMs * 2, LONGEST_WAIT_MS);
  }

  // An EventSource doesn't distinguish a lost network from an ended session, so ask first: 401 leads to the sign-in page. If no feed
  // comes, for example because too many pages are open, these responses keep the page current.
  again() {
    ask(`/api/${this.page}`, this.query, { signal: AbortSignal.timeout(RESPONSE_MS) }).then((state) => {
      if (document.hidden) return;
      this.state = state;
      this.heardAt = this.stateAt = performance.now();
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

// The page's data some seconds later, if nothing was read since: the ages of late servers and tubes grow, or, with `all`, of all.
function aged(data, seconds, all) {
  if (Array.isArray(data)) return typeof data[0] === "object" ? data.map((each) => aged(each, seconds, all)) : data;
  if (data === null || typeof data !== "object") return data;
  const later = Object.fromEntries(Object.entries(data).map(([key, value]) => [key, aged(value, seconds, all)]));
  if ("now" in data) later.now = data.now + seconds;
  if ("ageSeconds" in data && (all || data.late)) Object.assign(later, { late: true, unheard: all, ageSeconds: data.ageSeconds === null ? null : data.ageSeconds + seconds });
  return later;
}

// What can't be read of what this page shows, in a few words; null if nothing.
function troubleOf({ servers, server, cluster, metricMissing }) {
  const all = servers ?? (server ? [server] : []);
  const late = all.filter((one) => one.late);
  if (late.length > 1) return `${late.length} of ${plural(all.length, "server")} can't be read`;
  if (late.length) return `beanstalkd ${late[0].name} ${late[0].failure ? "can't be read" : "doesn't reply"} · ${lastRead(late[0].ageSeconds)}`;
  if (cluster?.late) return `Kubernetes can't be read · ${lastRead(cluster.ageSeconds)}`;
  return metricMissing ? "a metric has no value" : null;
}

function say(state, words) {
  const isWell = state === "live" || state === "paused";
  if (sign.dataset.state !== state) sign.dataset.state = state;
  setText(sign, words);
  setClass(document.body, "lost", state === "lost");
  document.title = isWell ? title : `⚠ ${title}`;
  setAttribute(icon, "href", isWell ? iconAddress : iconAddress.replace(/bean\.svg$/, "bean-late.svg"));
}
