// Actions on a tube and on one job. Each dialog describes live what its action would do; the server checks everything again.

import { ConsoleError, act, ask } from "./api.js";
import { openDialog, toast } from "./dialogs.js";
import { h } from "./dom.js";
import { UNKNOWN, bytes, count, known, plural } from "./words.js";

const STATES = [["ready", "ready"], ["delayed", "delayed"], ["buried", "buried"]];
const MAX = 4294967295; // beanstalkd's priorities, delays and times have 32 bits
const WHICH = { name: "state", label: "Which", kind: "choice", value: "ready", options: STATES };
const HOW_MANY = { name: "count", label: "How many", kind: "number", value: 1, min: 1, max: 100000 };

// The buttons of a tube. tube: {server, name, row(): its latest numbers, changed(): look at its jobs again}
export function tubeActions(tube) {
  const button = (label, open, kind = null) => h("button", { type: "button", class: kind, onclick: () => open(tube) }, label);
  return [button("Put a job…", put, "main"), button("Kick…", kick), button("Pause…", pause), button("Resume", resume), button("Move…", moveSome),
    button("Delete…", deleteSome, "destroys"), button("Empty…", empty, "destroys")];
}

// The buttons of one job in `state`; `tube` is the job's.
export function jobActions(job, state, tube) {
  const button = (label, open, kind = null) => h("button", { type: "button", class: kind, onclick: open }, label);
  return [state === "ready" ? button("Bury", () => atOnce("bury", job, tube)) : button("Kick", () => atOnce("kick-job", job, tube)),
    button("Move…", () => send("move", job, tube)), button("Copy…", () => send("copy", job, tube)), button("Delete…", () => deleteJob(job, tube), "destroys")];
}

const on = (tube, name, more = {}) => act(name, { server: tube.server, tube: tube.name, ...more });

// A bulk action: the server does as many jobs as it can in a few seconds, so repeat it until all are done or the dialog is closed.
async function onAll(tube, name, parameters, progress) {
  let done = 0;
  for (let round = 1; ; round += 1) {
    const rest = parameters.count ? { count: parameters.count - done } : {};
    const answer = await on(tube, name, { ...parameters, ...rest }).catch((error) => {
      throw done ? new ConsoleError(`${error.message} Before that: ${plural(done, "job")}.`, error.status) : error;
    });
    done += answer.count;
    if (!answer.more || !answer.count || !progress(count(done))) return round === 1 ? answer : { ...answer, message: `${answer.message} ${plural(done, "job")} in total.` };
  }
}

// The tube's jobs now; empty for a tube that this page doesn't show.
function holds(tube) {
  if (!tube.row) return "";
  const row = tube.row();
  const jobs = [...STATES.map(([state]) => state), "reserved"].map((state) => `${known(row[state]) ? count(row[state]) : UNKNOWN} ${state}`);
  return `Jobs of tube ${tube.name}: ${jobs.slice(0, -1).join(", ")} and ${jobs.at(-1)}${row.late ? " (at the last read: beanstalkd can't be read now)" : ""}.`;
}

export function put(tube) {
  openDialog({
    title: `Put a job into ${tube.name}`,
    fields: [
      { name: "as", label: "Format", kind: "choice", value: "text", options: [["text", "text"], ["hex", "hex"], ["file", "a file"]] },
      { name: "body", label: "Body", kind: "lines", shown: ({ as }) => as !== "file", help: "Sent as is; no line end is added." },
      { name: "file", label: "File", kind: "file", shown: ({ as }) => as === "file" },
      { name: "priority", label: "Priority", kind: "number", value: 65536, min: 0, max: MAX, help: "0 is first; below 1,024 is urgent." },
      { name: "delay", label: "Delay (s)", kind: "number", value: 0, min: 0, max: MAX },
      { name: "ttr", label: "Time to run (s)", kind: "number", value: 60, min: 1, max: MAX, help: "If a worker takes longer, the job becomes ready for another worker." },
    ],
    button: "Put job",
    incomplete: ({ as, body, file }) => (as === "hex" && !/^(\s*[0-9a-f]{2})*\s*$/i.test(body)) || (as === "file" && !file),
    run: ({ as, body, file, ...rest }) => {
      if (as !== "file") return on(tube, "put", { ...(as === "hex" ? { bodyHex: body.replace(/\s+/g, "") } : { body }), ...rest });
      const form = new FormData();
      for (const [name, value] of Object.entries({ server: tube.server, tube: tube.name, ...rest })) if (value !== null) form.set(name, value);
      form.set("file", file);
      return act("put", form);
    },
    done: tube.changed,
  });
}

function kick(tube) {
  const { buried, delayed } = tube.row();
  const onlyDelayed = () => tube.row().buried === 0;
  openDialog({
    title: `Kick jobs of ${tube.name}`,
    live: () => {
      const now = tube.row();
      if (!known(now.buried)) return "The number of buried jobs is unknown.";
      if (now.buried > 0) return `${plural(now.buried, "buried job")} can become ready again.`;
      return `No jobs are buried, so kick applies to delayed jobs: ${plural(now.delayed, "job")} would become ready early.`;
    },
    fields: [
      { ...HOW_MANY, value: Math.max(1, buried || delayed || 1), max: 1000000 },
      { name: "delayed", kind: "checks", value: [], options: [["yes", "yes, make delayed jobs ready early"]], shown: onlyDelayed },
    ],
    incomplete: ({ delayed: agreed }) => onlyDelayed() && !agreed.length,
    button: "Kick",
    run: ({ count: limit, delayed: agreed }, progress) => onAll(tube, "kick", { count: limit, delayed: onlyDelayed() && agreed.length > 0 }, progress),
    done: tube.changed,
  });
}

function pause(tube) {
  openDialog({
    title: `Pause ${tube.name}`,
    live: () => `While paused, workers can't reserve its jobs; new jobs are accepted. ${counting(tube.row().autoscalers)}${holds(tube)}`,
    fields: [{ name: "seconds", label: "For how many seconds", kind: "number", value: 60, min: 1, max: MAX }],
    button: "Pause",
    run: ({ seconds }) => on(tube, "pause", { seconds }),
  });
}

// What a pause means to the autoscalers of a tube.
function counting(autoscalers) {
  const names = (ignores) => new Intl.ListFormat("en").format(autoscalers.filter((one) => one.ignoresPaused === ignores).map(({ namespace, name }) => `${namespace}/${name}`));
  const [counts, ignores] = [names(false), names(true)];
  return [counts && `Autoscalers that count its ready jobs meanwhile: ${counts}. `, ignores && `Autoscalers that ignore them: ${ignores}. `].filter(Boolean).join("");
}

function resume(tube) {
  openDialog({ title: `Resume ${tube.name}`, live: () => `Workers can reserve its jobs again at once. ${holds(tube)}`, fields: [], button: "Resume", run: () => on(tube, "resume") });
}

async function moveSome(tube) {
  openDialog({
    title: `Move jobs of ${tube.name}`,
    live: () => `Moves jobs one by one, keeping priority and time to run. A job that can't be put stays here. ${holds(tube)}`,
    fields: [WHICH, HOW_MANY, ...(await targetFields(tube))],
    incomplete: ({ to }) => !to.trim(),
    button: "Move",
    run: ({ state, count: limit, ...target }, progress) => onAll(tube, "move-some", { state, count: limit, ...targetOf(target) }, progress),
    done: tube.changed,
  });
}

function deleteSome(tube) {
  openDialog({
    title: `Delete jobs of ${tube.name}`,
    destroys: true,
    live: ({ state, count: limit }) => `Permanently deletes the next ${limit === 1 ? "" : `${count(limit)} `}${state} ${limit === 1 ? "job" : "jobs"}. ${holds(tube)}`,
    fields: [WHICH, HOW_MANY],
    button: "Delete",
    run: ({ state, count: limit }, progress) => onAll(tube, "delete-some", { state, count: limit }, progress),
    done: tube.changed,
  });
}

function empty(tube) {
  openDialog({
    title: `Empty ${tube.name}`,
    destroys: true,
    live: ({ states }) => `Permanently deletes all ${new Intl.ListFormat("en").format(states) || "…"} jobs; reserved jobs stay with their workers. ${holds(tube)}`,
    fields: [{ name: "states", label: "Which", kind: "checks", value: ["ready", "delayed", "buried"], options: STATES }],
    confirm: tube.name,
    incomplete: ({ states }) => !states.length,
    button: "Delete jobs",
    run: ({ confirm, states }, progress) => onAll(tube, "empty", { confirm, states }, progress),
    done: tube.changed,
  });
}

// The fields that choose another tube, and a server if there are several.
async function targetFields(tube) {
  const { tubes = [], servers = [] } = await ask("/api/overview", { size: 100, sort: "tube" }).catch(() => ({}));
  const names = [...new Set(tubes.map((row) => row.tube))].filter((name) => name !== tube.name);
  return [{ name: "to", label: "To tube", kind: "text", required: true, suggestions: names }, ...serverField(servers, tube.server)];
}

export const serverField = (servers, chosen) =>
  (servers.length > 1 ? [{ name: "toServer", label: "On server", kind: "choice", value: chosen, options: servers.map(({ name }) => [name, name]) }] : []);

const targetOf = ({ to, toServer }) => ({ to: to.trim(), toServer });

// Identifies the job by more than its ID: after a restart of beanstalkd, another job may have this ID.
const shown = ({ id, born }) => ({ id, born });

async function atOnce(name, job, tube) {
  try {
    toast((await on(tube, name, shown(job))).message);
  } catch (error) {
    toast(error.message, false);
  }
  tube.changed();
}

async function send(name, job, tube) {
  const moves = name === "move";
  openDialog({
    title: `${moves ? "Move" : "Copy"} job ${job.id}`,
    live: () => (moves ? "Keeps priority and time to run. If the job can't be put there, it stays here." : "Puts a new job with the same body, priority and time to run."),
    fields: await targetFields(tube),
    incomplete: ({ to }) => !to.trim(),
    button: moves ? "Move" : "Copy",
    run: (target) => on(tube, name, { ...shown(job), ...targetOf(target) }),
    done: tube.changed,
  });
}

function deleteJob(job, tube) {
  openDialog({
    title: `Delete job ${job.id}`,
    destroys: true,
    live: () => `Permanently deletes this ${job.state} job of ${bytes(job.size)}. ${holds(tube)}`,
    fields: [],
    button: "Delete",
    run: () => on(tube, "delete", { ...shown(job), state: job.state }),
    done: tube.changed,
  });
}
