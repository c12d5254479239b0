// One tube, live: its numbers, the last hour, the next jobs, what happened, what can be done.

import { autoscalerAddress, initial, ofTube, readOnly } from "./api.js";
import { put, tubeActions } from "./actions.js";
import { chart } from "./chart.js";
import { refreshDialog } from "./dialogs.js";
import { h, keyed, setClass, setText } from "./dom.js";
import { feed } from "./feed.js";
import { Finding } from "./find.js";
import { Jobs } from "./jobs.js";
import { keyboard } from "./keyboard.js";
import { autoscalerLines, buriedLine, jobStacks, upToNow } from "./series.js";
import { NEEDS_RULE, SEEN_EARLIER, UNKNOWN, ago, clock, count, known, notesOf, rate, span } from "./words.js";

const part = (id) => document.getElementById(id);
const SHOWN_ABOVE = new Set(["server", "member", "tube", "name", "ready", "reserved", "delayed", "buried", "spark", "autoscalers", "notes", "fresh", "gone",
  "putPerSecond", "deletedPerSecond", "ageSeconds", "seenAt", "stats", "pauseLeft"]);
const LABELS = { urgent: ["ready and urgent", count], using: ["clients that put", count], watching: ["workers", count], waiting: ["workers without a job", count],
  total: ["jobs ever put", count], deleted: ["jobs ever deleted", count], pauses: ["times paused", count], pause: ["last pause", span], pause_left: ["pause left", span],
  drainSeconds: ["empty in, at this pace", span] };
const NEEDS_A_RULE = "a “/” can stand neither in a metric's name nor in a label, so name this tube in metrics: to scale by it";

let state = initial();
const query = ofTube(state.tube);
const tube = { ...query, row: () => state.tube, changed: () => jobs.look() };
const jobs = new Jobs(part("jobs"), query, tube);
const draw = chart(part("chart"), `Jobs and pods of ${state.tube.tube} over time`);

if (!readOnly) part("actions").replaceChildren(...tubeActions(tube));
part("look-again").addEventListener("click", () => jobs.look());
part("one-job").addEventListener("submit", (event) => {
  event.preventDefault();
  jobs.find(part("found"), part("job-id").value);
});
new Finding(query, open);
const asked = new URLSearchParams(location.search).get("job");
if (asked) open(asked);
feed("tube", query, show);
keyboard(part("hits"), [["f", "find jobs", () => part("find-text").select()], ...(readOnly ? [] : [["p", "put a job", () => put(tube)]])]);

// Any job's card, in view and with the focus.
async function open(id) {
  await jobs.find(part("found"), id);
  part("found").focus({ preventScroll: true });
  part("found").scrollIntoView({ block: "nearest" });
}

function show(now) {
  state = now;
  const row = now.tube;
  showPlace(now, row);
  showCounts(row);
  const history = upToNow(now.history, row, now.now);
  draw({ now: now.now, stacks: jobStacks(history), lines: [buriedLine(history), ...now.autoscalers.flatMap((one) => autoscalerLines(one, now.autoscalers.length > 1))], events: now.events });
  keyed(part("events"), [...now.events].reverse(), ({ t, kind, text }) => `${t} ${kind} ${text}`, newEvent, () => {});
  if (!now.events.length) part("events").replaceChildren(h("li", { class: "quiet" }, "Nothing since the console watches."));
  keyed(part("stats"), facts(row), ([name]) => name, newFact, (element, [, value]) => setText(element.lastElementChild, value));
  jobs.tubeChanged(row);
  refreshDialog();
}

function showPlace(now, row) {
  const read = row.fresh ? "" : known(row.ageSeconds) ? ` · last read ${ago(row.ageSeconds)}` : " · never read";
  const failure = now.server?.up === false ? `: ${now.server.failure ?? "its first answer is awaited"}` : "";
  setText(part("server"), `on ${[row.server, row.member].filter(Boolean).join(" ")}${read}${failure}`);
  setClass(part("server"), "trouble", !row.fresh);
  const inFull = { [SEEN_EARLIER]: goneFor(now.now, row), [NEEDS_RULE]: `${NEEDS_RULE}: ${NEEDS_A_RULE}` };
  const notes = notesOf({ ...row, fresh: true }).map((note) => inFull[note] ?? note);
  part("notes").replaceChildren(...notes.map((words) => h("span", { class: "chip warn" }, words)),
    ...row.autoscalers.map((one) => h("a", { class: "chip", href: autoscalerAddress(one) }, `⇅ ${one.namespace}/${one.name}`)));
}

function goneFor(now, { seenAt }) {
  return (known(seenAt) ? `not there, last seen ${ago(now - seenAt)}` : "not there: beanstalkd forgets a tube without jobs and clients");
}

function showCounts(row) {
  const workers = known(row.watching) && row.waiting ? `${count(row.watching)}, ${count(row.waiting)} idle` : count(row.watching);
  const told = [count(row.ready), count(row.reserved), count(row.delayed), count(row.buried), rate(row.putPerSecond), rate(row.deletedPerSecond), workers];
  [...part("counts").children].forEach((box, index) => showCount(box.lastElementChild, told[index]));
  setClass(part("counts"), "stale", !row.fresh);
}

function showCount(place, words) {
  if (words === UNKNOWN) place.replaceChildren(h("span", { class: "unknown" }, UNKNOWN));
  else if (words.includes(", ")) place.replaceChildren(words.split(", ")[0], h("small", {}, `, ${words.split(", ")[1]}`));
  else setText(place, words);
}

function newEvent({ t, text }) {
  return h("li", {}, h("time", { datetime: new Date(t * 1000).toISOString() }, clock(t)), h("span", {}, text));
}

function newFact([name]) {
  return h("div", {}, h("dt", {}, name), h("dd"));
}

function facts(row) {
  const told = Object.entries({ ...row, ...row.stats }).filter(([name, value]) => !SHOWN_ABOVE.has(name) && !(name === "drainSeconds" && value === null));
  return [["read", ago(row.ageSeconds)], ...told.map(([name, value]) => fact(name, value))];
}

function fact(name, value) {
  const [label, words] = LABELS[name] ?? [name.replace(/([A-Z])/g, " $1").replace(/[-_]/g, " ").toLowerCase(), count];
  return [label, value === null ? UNKNOWN : known(value) ? words(value) : String(value)];
}
