// One tube, live: its numbers, the last hour, its next jobs, events and actions.

import { autoscalerAddress, initial, ofTube, readOnly } from "./api.js";
import { put, tubeActions } from "./actions.js";
import { chart } from "./chart.js";
import { refreshDialog } from "./dialogs.js";
import { h, keyed, setClass, setText, setValue } from "./dom.js";
import { feed } from "./feed.js";
import { Finder } from "./find.js";
import { Jobs } from "./jobs.js";
import { keyboard } from "./keyboard.js";
import { autoscalerLines, buriedLine, jobStacks, upToNow } from "./series.js";
import { UNKNOWN, ago, clock, count, duration, known, lateness, notesOf, rate, reasonOf } from "./words.js";

const part = (id) => document.getElementById(id);
const SHOWN_ABOVE = new Set(["server", "tube", "ready", "reserved", "delayed", "buried", "spark", "autoscalers", "notes", "fresh", "late", "unheard", "gone",
  "putPerSecond", "deletedPerSecond", "ageSeconds", "seenAt", "pauseLeft", "netPerSecond", "emptySeconds", "ownChanges", "stuckSeconds", "invalid"]);
const LABELS = { urgent: ["urgent", count], using: ["producers using", count], watching: ["workers watching", count], waiting: ["workers waiting", count],
  total: ["jobs put in total", count], deleted: ["jobs deleted in total", count], pauses: ["pauses", count], pause: ["last pause", duration], pause_left: ["pause left", duration],
  drainSeconds: ["drain time on this server, if nothing is put", duration] };

let state = initial();
const query = ofTube(state.tube);
const tube = { ...query, row: () => state.tube, changed: () => jobs.load() };
const jobs = new Jobs(part("jobs"), query, tube);
const draw = chart(part("chart"), `Jobs and pods of ${state.tube.tube} over time`);

if (!readOnly) part("actions").replaceChildren(...tubeActions(tube));
part("reload").addEventListener("click", () => jobs.load());
part("one-job").addEventListener("submit", (event) => {
  event.preventDefault();
  jobs.find(part("found"), part("job-id").value);
});
const finder = new Finder(query, open);
const asked = new URLSearchParams(location.search).get("job");
if (asked) open(asked);
feed("tube", query, show);
keyboard(part("hits"), [["f", "find jobs", () => part("find-text").select()], ...(readOnly ? [] : [["p", "put a job", () => put(tube)]])]);

// Shows the card of any job, and moves the focus there.
async function open(id) {
  await jobs.find(part("found"), id);
  part("found").focus({ preventScroll: true });
  part("found").scrollIntoView({ block: "nearest" });
}

function show(now) {
  if (now.server.restartedAt !== state.server.restartedAt) finder.restarted();
  state = now;
  const row = now.tube;
  showHead(now, row);
  showCounts(row);
  const history = upToNow(now.history, row, now);
  setClass(part("main"), "late", row.late);
  draw({ now: now.now, late: row.late, stacks: jobStacks(history), lines: [buriedLine(history), ...now.autoscalers.flatMap((one) => autoscalerLines(one, now.autoscalers.length > 1, ["jobs"]))], events: now.events });
  keyed(part("events"), [...now.events].reverse(), ({ t, kind, text }) => `${t} ${kind} ${text}`, newEvent, () => {});
  if (!now.events.length) part("events").replaceChildren(h("li", { class: "quiet" }, "No events since the console started."));
  keyed(part("stats"), facts(row), ([name]) => name, newFact, (element, [, value]) => setValue(element.lastElementChild, value));
  setClass(part("stats"), "stale", row.late || !row.fresh);
  jobs.tubeChanged(row);
  refreshDialog();
}

function showHead(now, row) {
  setText(part("server"), [`on ${row.server}`, ...lateness(now.server)].join(" · "));
  setClass(part("server"), "warn", row.late);
  setClass(part("server"), "error", !row.fresh);
  const timeouts = now.server.timeoutsPerSecond > 0 && !row.late ? [{ words: `${rate(now.server.timeoutsPerSecond)} timeouts/s on ${row.server}` }] : [];
  part("notes").replaceChildren(...notesOf(row, now.now).concat(timeouts).map(({ words }) => h("span", { class: "chip warn" }, words)),
    ...row.autoscalers.map((one) => h("a", { class: "chip", href: autoscalerAddress(one) }, `⇅ ${one.namespace}/${one.name}${row.notes.includes("paused") && one.ignoresPaused ? " (ignores its ready jobs while paused)" : ""}`)));
}

function showCounts(row) {
  const idle = known(row.watching) && row.waiting ? `${count(row.waiting)} idle` : null;
  const cells = [["ready", count], ["reserved", count], ["delayed", count], ["buried", count], ["putPerSecond", rate], ["deletedPerSecond", rate], ["watching", count, idle]];
  [...part("counts").children].forEach((box, index) => {
    const [name, format, more] = cells[index];
    const words = format(row[name]);
    const place = box.lastElementChild;
    if (words === UNKNOWN) place.replaceChildren(h("span", { class: "unknown", title: reasonOf(row, name) }, UNKNOWN));
    else if (more) place.replaceChildren(words, h("small", {}, `, ${more}`));
    else setText(place, words);
  });
  setClass(part("counts"), "stale", row.late || !row.fresh);
}

function newEvent({ t, text }) {
  return h("li", {}, h("time", { datetime: new Date(t * 1000).toISOString() }, clock(t)), h("span", {}, text));
}

function newFact([name]) {
  return h("div", {}, h("dt", {}, name), h("dd"));
}

// Whether producers or workers are faster. A tube that grows is never said to become empty.
function trend({ ready, reserved, netPerSecond: net, emptySeconds, ownChanges, notes }) {
  if (notes.includes("paused")) return "paused";
  if (!known(ready) || !known(reserved)) return UNKNOWN;
  if (!known(net)) return ownChanges ? `${UNKNOWN} for half a minute, because jobs were changed here` : UNKNOWN;
  const noted = ownChanges ? ", without what was changed here" : "";
  if (net > 0) return `growing by ${rate(net)}/s${noted}`;
  if (ready + reserved === 0) return "empty";
  return (net < 0 ? `shrinking by ${rate(-net)}/s, empty in ${duration(emptySeconds)}` : "neither growing nor shrinking") + noted;
}

function facts(row) {
  const more = Object.entries(row).filter(([name, value]) => !SHOWN_ABOVE.has(name) && !(name === "drainSeconds" && value === null));
  return [["read", ago(row.ageSeconds)], ["trend", trend(row)], ...more.map(([name, value]) => {
    const [label, words] = LABELS[name] ?? [name.replace(/([A-Z])/g, " $1").replace(/[-_]/g, " ").toLowerCase(), count];
    return [label, value === null ? UNKNOWN : known(value) ? words(value) : String(value)];
  })];
}
