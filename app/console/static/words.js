// Numbers and times as people read them. Unknown is "unknown", never 0.

export const UNKNOWN = "unknown";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const hundredths = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

export const known = (number) => number !== null && number !== undefined && number !== "" && Number.isFinite(Number(number));

export const count = (number) => (known(number) ? whole.format(number) : UNKNOWN);

// What is something is never told as 0.
const atLeast = (number, least, format) => (!known(number) ? UNKNOWN : number > 0 && number < least / 2 ? `< ${least}` : format.format(number));

export const amount = (number) => atLeast(number, 0.01, hundredths);

export const rate = (perSecond) => atLeast(perSecond, 0.1, tenths);

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

// two units at most: 42 s, 3 min 5 s, 2 h 7 min, 4 d 1 h
export function span(seconds) {
  if (!known(seconds)) return UNKNOWN;
  const s = Math.max(0, Math.round(seconds));
  const parts = [[Math.floor(s / 86400), "d"], [Math.floor(s / 3600) % 24, "h"], [Math.floor(s / 60) % 60, "min"], [s % 60, "s"]];
  const first = parts.findIndex(([number]) => number);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([number]) => number).map(([number, unit]) => `${number} ${unit}`).join(" ");
}

export const ago = (seconds) => (!known(seconds) ? "never" : seconds < 1.5 ? "just now" : `${span(seconds)} ago`);

export function bytes(size) {
  if (!known(size)) return UNKNOWN;
  if (size < 1024) return plural(size, "byte");
  const [divisor, unit] = size < 1048576 ? [1024, "KiB"] : [1048576, "MiB"];
  return `${tenths.format(size / divisor)} ${unit}`;
}

export const clock = (unixSeconds, withSeconds = true) =>
  new Date(unixSeconds * 1000).toLocaleTimeString("en-GB", withSeconds ? {} : { hour: "2-digit", minute: "2-digit" });

// At the start of a sentence, but for names such as minReplicas or tube-orders.
export const capital = (sentence) => sentence.replace(/^[a-z]+(?=[\s,:;.’']|$)/, (word) => word[0].toUpperCase() + word.slice(1));

export const SEEN_EARLIER = "seen earlier";
export const NEEDS_RULE = "needs a rule";
// By the server's codes.
const NOTES = { paused: "paused", "no-watchers": "no watchers", "only-delayed": "only delayed jobs", "buried-jobs": "buried jobs", "needs-rule": NEEDS_RULE };

// What to know about a tube's row, in few words each.
export function notesOf(row) {
  const told = (row.notes ?? []).filter((code) => code in NOTES).map((code) => (code === "paused" && row.pauseLeft > 0 ? `paused, ${span(row.pauseLeft)} left` : NOTES[code]));
  if (row.gone) told.unshift(SEEN_EARLIER);
  if (!row.fresh) told.unshift(known(row.ageSeconds) ? `last read ${ago(row.ageSeconds)}` : "never read");
  return told;
}
