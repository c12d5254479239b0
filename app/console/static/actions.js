// What can be done with a tube. Each is asked for by a dialog that tells live what it would do; the server checks all of it again.

import { Refusal, act, ask } from "./api.js";
import { openDialog } from "./dialogs.js";
import { h } from "./dom.js";
import { UNKNOWN, count, known, plural } from "./words.js";

export const STATES = [["ready", "ready"], ["delayed", "delayed"], ["buried", "buried"]];
const MOST = 4294967295; // beanstalkd's priorities, delays and times are 32 bits wide

// The buttons of a tube. tube: {server, member, name, row(): its latest numbers, changed(): look at the jobs again}
export function tubeActions(tube) {
  const button = (label, open, kind = null) => h("button", { type: "button", class: kind, onclick: () => open(tube) }, label);
  return [button("Put a job…", put, "main"), button("Kick…", kick), button("Pause…", pause), button("Resume", resume), button("Move…", moveSome),
    button("Delete…", deleteSome, "destroys"), button("Empty…", empty, "destroys")];
}

// An action on this tube, with what else it needs.
export const on = (tube, name, more = {}) => act(name, { server: tube.server, member: tube.member, tube: tube.name, ...more });

// An action on many jobs, of which the server does in one go what it can in some seconds: until the end, or until the dialog is closed.
async function onAll(tube, name, what, told) {
  let done = 0;
  for (let round = 1; ; round += 1) {
    const left = what.count ? { count: what.count - done } : {};
    const answer = await on(tube, name, { ...what, ...left }).catch((refusal) => {
      throw done ? new Refusal(`${refusal.message} Before that: ${plural(done, "job")}.`, refusal.status) : refusal;
    });
    done += answer.count;
    if (!answer.more || !answer.count || !told(count(done))) return round === 1 ? answer : { ...answer, message: `${answer.message} ${plural(done, "job")} in all.` };
  }
}

const jobs = (number, state) => (known(number) ? `${count(number)} ${state}` : `${UNKNOWN} ${state}`);

// What the tube holds now; nothing is said of a tube that this page isn't about.
export function holds(tube) {
  if (!tube.row) return "";
  const row = tube.row();
  const old = row.fresh ? "" : " (the last that was read: beanstalkd can't be read now)";
  return `Now ${tube.name} holds ${STATES.map(([state]) => jobs(row[state], state)).join(", ")} and ${jobs(row.reserved, "reserved")} jobs${old}.`;
}

export function put(tube) {
  openDialog({
    title: `Put a job into ${tube.name}`,
    fields: [
      { name: "as", label: "Its body is", kind: "choice", value: "text", options: [["text", "text"], ["hex", "hex"], ["file", "a file"]] },
      { name: "body", label: "Body", kind: "lines", shown: ({ as }) => as !== "file", help: "Taken as it stands, with no line end added." },
      { name: "file", label: "File", kind: "file", shown: ({ as }) => as === "file" },
      { name: "priority", label: "Priority", kind: "number", value: 65536, min: 0, max: MOST, help: "0 comes first; below 1,024 counts as urgent." },
      { name: "delay", label: "Delay (s)", kind: "number", value: 0, min: 0, max: MOST },
      { name: "ttr", label: "Time to run (s)", kind: "number", value: 60, min: 1, max: MOST, help: "A worker that takes longer loses the job to another one." },
    ],
    button: "Put it",
    problem: ({ as, body, file }) => (as === "hex" && !/^(\s*[0-9a-f]{2})*\s*$/i.test(body) ? "not hex" : as === "file" && !file ? "no file" : ""),
    run: (values) => (values.as === "file" ? putFile(tube, values) : on(tube, "put", bodyOf(values))),
    done: tube.changed,
  });
}

function bodyOf({ as, body, priority, delay, ttr }) {
  const told = as === "hex" ? { bodyHex: body.replace(/\s+/g, "") } : { body };
  return { ...told, priority, delay, ttr };
}

function putFile(tube, { file, priority, delay, ttr }) {
  const form = new FormData();
  const told = { server: tube.server, member: tube.member, tube: tube.name, priority, delay, ttr };
  for (const [name, value] of Object.entries(told)) if (known(value) || typeof value === "string") form.set(name, value);
  form.set("file", file);
  return act("put", form);
}

function kick(tube) {
  const { buried, delayed } = tube.row();
  openDialog({
    title: `Kick jobs of ${tube.name}`,
    live: () => {
      const now = tube.row();
      if (!known(now.buried)) return "How many jobs are buried is unknown.";
      if (now.buried > 0) return `${plural(now.buried, "buried job")} can become ready again.`;
      return `Nothing is buried, and then beanstalkd kicks delayed jobs: ${plural(now.delayed, "job")} would become ready before their time.`;
    },
    fields: [
      { name: "count", label: "How many", kind: "number", value: Math.max(1, buried || delayed || 1), min: 1, max: 1000000 },
      { name: "delayed", kind: "checks", value: [], options: [["yes", "yes, delayed jobs, before their time"]], shown: () => tube.row().buried === 0 },
    ],
    problem: ({ delayed: agreed }) => (tube.row().buried === 0 && !agreed.length ? "delayed jobs" : ""),
    button: "Kick",
    run: ({ count: number, delayed: agreed }, told) => onAll(tube, "kick", { count: number, delayed: tube.row().buried === 0 && agreed.length > 0 }, told),
    done: tube.changed,
  });
}

function pause(tube) {
  openDialog({
    title: `Pause ${tube.name}`,
    live: () => `No worker gets a job of it meanwhile; new jobs still come in, and an autoscaler still counts them. ${holds(tube)}`,
    fields: [{ name: "seconds", label: "For how many seconds", kind: "number", value: 60, min: 1, max: MOST }],
    button: "Pause",
    run: ({ seconds }) => on(tube, "pause", { seconds }),
  });
}

function resume(tube) {
  openDialog({ title: `Resume ${tube.name}`, live: () => `Workers get its jobs again at once. ${holds(tube)}`, fields: [], button: "Resume", run: () => on(tube, "resume") });
}

// Where jobs can go: names of tubes to choose from, and servers if there are several.
export async function destination(tube) {
  const { tubes = [], servers = [] } = await ask("/api/overview", { size: 100, sort: "tube" }).catch(() => ({}));
  const names = [...new Set(tubes.map((row) => row.tube))].filter((name) => name !== tube.name);
  const fields = [{ name: "to", label: "To tube", kind: "text", required: true, suggestions: names }];
  if (servers.length > 1) fields.push({ name: "where", label: "On server", kind: "choice", value: placeKey(tube.server, tube.member), options: places(servers) });
  return fields;
}

export function going({ to, where }) {
  const [toServer, toMember] = where ? JSON.parse(where) : [];
  return { to: to.trim(), ...(where ? { toServer, toMember } : {}) };
}

// One name of a server may stand for several members, and each has its own tubes.
export const placeKey = (name, member) => JSON.stringify([name, member ?? null]);

export const places = (servers) => servers.map(({ name, member }) => [placeKey(name, member), [name, member].filter(Boolean).join(" ")]);

async function moveSome(tube) {
  openDialog({
    title: `Move jobs of ${tube.name}`,
    live: () => `One by one, each with its priority and time to run; a job that can't be put stays here. ${holds(tube)}`,
    fields: [{ name: "state", label: "Which", kind: "choice", value: "ready", options: STATES }, { name: "count", label: "How many", kind: "number", value: 1, min: 1, max: 100000 }, ...(await destination(tube))],
    problem: ({ to }) => (to.trim() ? "" : "where to"),
    button: "Move",
    run: (values, told) => onAll(tube, "move-some", { state: values.state, count: values.count, ...going(values) }, told),
    done: tube.changed,
  });
}

function deleteSome(tube) {
  openDialog({
    title: `Delete jobs of ${tube.name}`,
    destroys: true,
    live: ({ state, count: number }) => `${number === 1 ? "The next" : `The next ${count(number)}`} ${state} of these are destroyed, for good. ${holds(tube)}`,
    fields: [{ name: "state", label: "Which", kind: "choice", value: "ready", options: STATES }, { name: "count", label: "How many", kind: "number", value: 1, min: 1, max: 100000 }],
    button: "Delete",
    run: ({ state, count: number }, told) => onAll(tube, "delete-some", { state, count: number }, told),
    done: tube.changed,
  });
}

function empty(tube) {
  openDialog({
    title: `Empty ${tube.name}`,
    destroys: true,
    live: ({ states }) => `All ${new Intl.ListFormat("en").format(states) || "…"} jobs are destroyed, for good; reserved ones stay with their workers. ${holds(tube)}`,
    fields: [{ name: "states", label: "Which", kind: "checks", value: ["ready", "delayed", "buried"], options: STATES }],
    confirm: tube.name,
    problem: ({ states }) => (states.length ? "" : "no state"),
    button: "Destroy them",
    run: ({ confirm, states }, told) => onAll(tube, "empty", { confirm, states }, told),
    done: tube.changed,
  });
}
