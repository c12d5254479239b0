// The words of the pages: numbers, times and the server's codes as people read them. Unknown is "unknown", never 0.

export const UNKNOWN = "unknown";

const integer = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const hundredths = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

export const known = (number) => number !== null && number !== undefined && number !== "" && Number.isFinite(Number(number));

export const count = (number) => (known(number) ? integer.format(number) : UNKNOWN);

// A small number is never rounded to 0.
const atLeast = (number, least, format) => (!known(number) ? UNKNOWN : number > 0 && number < least / 2 ? `< ${least}` : format.format(number));

export const amount = (number) => atLeast(number, 0.01, hundredths);

const SINGULAR = /^(job|second|worker|producer|pause)s(?=\/|$)/;

// "20 jobs", "1 job", "0.5 jobs/s", or "20" of a metric whose unit isn't known. app/text.py follows the same rule.
export function measured(number, unit) {
  const words = amount(number);
  if (!known(number) || !unit) return words;
  return `${words} ${words === "1" ? unit.replace(SINGULAR, "$1") : unit}`;
}

export const rate = (perSecond) => atLeast(perSecond, 0.1, tenths);

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

// At most two units: 42 s, 3 min 5 s, 2 h 7 min, 4 d 1 h.
export function duration(seconds) {
  if (!known(seconds)) return UNKNOWN;
  const s = Math.max(0, Math.round(seconds));
  const parts = [[Math.floor(s / 86400), "d"], [Math.floor(s / 3600) % 24, "h"], [Math.floor(s / 60) % 60, "min"], [s % 60, "s"]];
  const first = parts.findIndex(([number]) => number);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([number]) => number).map(([number, unit]) => `${number} ${unit}`).join(" ");
}

export const ago = (seconds) => (!known(seconds) ? "never" : seconds < 1.5 ? "just now" : `${duration(seconds)} ago`);

// [name, value] of the time until a job's state changes by itself; of a reserved one that may be over.
export function timeLeft(state, seconds) {
  if (state === "delayed") return ["ready in", duration(seconds)];
  return seconds < 0 ? ["overdue by", duration(-seconds)] : ["time left", duration(seconds)];
}

export function bytes(size) {
  if (!known(size)) return UNKNOWN;
  if (size < 1024) return plural(size, "byte");
  const [divisor, unit] = size < 1048576 ? [1024, "KiB"] : [1048576, "MiB"];
  return `${tenths.format(size / divisor)} ${unit}`;
}

export const clock = (unixSeconds, withSeconds = true) =>
  new Date(unixSeconds * 1000).toLocaleTimeString("en-GB", withSeconds ? {} : { hour: "2-digit", minute: "2-digit" });

// For the start of a sentence; names such as minReplicas, behavior.scaleUp, tube-orders and beanstalkd stay.
export const capital = (sentence) => sentence.replace(/^(?!beanstalkd|beanscale)[a-z]+(?=[\s,:;’']|\.(?:\s|$)|$)/, (word) => word[0].toUpperCase() + word.slice(1));

// `last read 20 s ago` or `never read`.
export const lastRead = (ageSeconds) => (known(ageSeconds) ? `last read ${duration(Math.max(1, ageSeconds))} ago` : "never read");

// Clauses about a server, or the cluster, that is late; none about one that isn't.
export function lateness(server) {
  if (!server?.late) return [];
  const why = server.failure ? `can't be read: ${server.failure}` : !known(server.ageSeconds) ? "waiting for the first poll" : server.unheard ? null : "doesn't reply";
  return [why, lastRead(server.ageSeconds)].filter(Boolean);
}

// Sentences why what is shown is old: that its subject is gone, or one for each server that is late, and for the cluster if it is.
export function latenesses({ servers, cluster, problem }) {
  if (problem) return [`${problem} The numbers here are the last ones known.`];
  const subjects = servers.map((one) => [`beanstalkd ${one.name}`, one]).concat(cluster ? [["Kubernetes", cluster]] : []);
  return subjects.filter(([, one]) => one.late).map(([subject, one]) => `${subject} ${lateness(one).join(" · ")}`);
}

// Why one of a tube's numbers is unknown; null if that isn't because of an invalid field.
export const reasonOf = (row, name) => (row.invalid?.[name] ? `no valid ${row.invalid[name]}` : null);

const NOTES = {
  paused: "paused",
  "no-watchers": "no watchers",
  "workers-stuck": "workers stuck",
  "only-delayed": "only delayed jobs",
  "buried-jobs": "buried jobs",
  "needs-rule": "needs a rule",
};
const NOTES_IN_FULL = {
  "needs-rule": "needs a rule: “/” is not valid in a metric name or a label, so define a rule for this tube under metrics:",
};

// The notes on a tube's row: [{code, words}, …]; with `now` (Unix seconds) they are in full, as on the tube's own page.
export function notesOf(row, now = null) {
  const notes = (row.notes ?? []).filter((code) => code in NOTES).map((code) => ({ code, words: (now && NOTES_IN_FULL[code]) || NOTES[code] }));
  for (const note of notes) if (note.code === "paused" && row.pauseLeft > 0) note.words = `paused, ${duration(row.pauseLeft)} left`;
  for (const note of notes) if (note.code === "workers-stuck") note.words = now ? `workers stuck: for ${duration(row.stuckSeconds)} none took a ready job` : `workers stuck, ${duration(row.stuckSeconds)}`;
  if (now) for (const reason of new Set(Object.values(row.invalid ?? {}))) notes.push({ code: "invalid", words: `no valid ${reason}` });
  if (row.gone) notes.unshift({ code: "gone", words: !now ? "seen earlier" : known(row.seenAt) ? `no such tube, last seen ${ago(now - row.seenAt)}` : "no such tube: beanstalkd forgets a tube without jobs and clients" });
  if ((row.late || !row.fresh) && !now) notes.unshift({ code: "late", words: lastRead(row.ageSeconds) });
  return notes;
}
