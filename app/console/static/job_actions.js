// What can be done with one job; it may be gone by then, and the server says so.

import { destination, going, holds, on } from "./actions.js";
import { openDialog } from "./dialogs.js";
import { h } from "./dom.js";
import { toast } from "./toasts.js";
import { bytes } from "./words.js";

export function jobActions(job, state, tube) {
  const button = (label, open, kind = null) => h("button", { type: "button", class: kind, onclick: () => open(job, tube) }, label);
  return [state === "ready" ? button("Bury", bury) : button("Kick", kick), button("Move…", (...which) => sent("move", ...which)),
    button("Copy…", (...which) => sent("copy", ...which)), button("Delete…", destroy, "destroys")];
}

// Which job: where beanstalkd was restarted, another one may have its id by now.
const seen = ({ id, born }) => ({ id, born });

const kick = (job, tube) => atOnce("kick-job", job, tube);

const bury = (job, tube) => atOnce("bury", job, tube);

async function atOnce(name, job, tube) {
  try {
    const answer = await on(tube, name, seen(job));
    toast(answer.message, answer.ok !== false);
  } catch (refusal) {
    toast(refusal.message, false);
  }
  tube.changed();
}

async function sent(name, job, tube) {
  const moves = name === "move";
  openDialog({
    title: `${moves ? "Move" : "Copy"} job ${job.id}`,
    live: () => (moves ? "With its priority and time to run; if it can't be put there, it stays here." : "A new job with the same body, priority and time to run."),
    fields: await destination(tube),
    problem: ({ to }) => (to.trim() ? "" : "where to"),
    button: moves ? "Move" : "Copy",
    run: (values) => on(tube, name, { ...seen(job), ...going(values) }),
    done: tube.changed,
  });
}

function destroy(job, tube) {
  openDialog({
    title: `Delete job ${job.id}`,
    destroys: true,
    live: () => `This ${job.state} job of ${bytes(job.size)} is destroyed, for good. ${holds(tube)}`,
    fields: [],
    button: "Delete",
    run: () => on(tube, "delete", { ...seen(job), state: job.state }),
    done: tube.changed,
  });
}
