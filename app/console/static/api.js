// The way to our own server: addresses below the path prefix, JSON in and out, the session's token with each action.

const root = document.documentElement.dataset;
const token = document.querySelector('meta[name="csrf"]')?.content ?? "";

export const prefix = root.prefix ?? "";
export const readOnly = "readOnly" in root;

// address("/tube", {server: "eu", name: "a/b"}); empty and null values are left out
export function address(path, query = {}) {
  const told = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  const search = new URLSearchParams(told.map(([name, value]) => [name, value === true ? "1" : value])).toString();
  return prefix + path + (search ? `?${search}` : "");
}

// A tube's query parameters; one name of a server may stand for several members.
export const ofTube = (row) => ({ server: row.server, member: row.member, name: row.tube });

export const tubeAddress = (row) => address("/tube", ofTube(row));

export const autoscalerAddress = ({ namespace, name }) => address("/autoscaler", { namespace, name });

// What the server rendered the page from.
export const initial = () => JSON.parse(document.getElementById("initial").textContent);

// Leads back to here after it.
export const signIn = () => location.assign(address("/login", { next: location.pathname.slice(prefix.length) + location.search }));

// Its `status` is 0 where the console didn't answer at all.
export class Refusal extends Error {
  constructor(sentence, status = 0) {
    super(sentence);
    this.status = status;
  }
}

// Raises Refusal with a sentence for people.
export async function ask(path, query, options = {}) {
  const response = await reached(fetch(address(path, query), { credentials: "same-origin", ...options }));
  if (response.status === 401) signIn();
  const answer = await read(response);
  if (!response.ok) throw new Refusal(answer.error ?? answer.message ?? `The console answered with status ${response.status}.`, response.status);
  return answer;
}

// An action; a FormData goes as a form with its file, all else as JSON.
export function act(name, what) {
  const form = what instanceof FormData;
  const headers = { "X-CSRF-Token": token, ...(form ? {} : { "Content-Type": "application/json" }) };
  return ask(`/actions/${name}`, {}, { method: "POST", headers, body: form ? what : JSON.stringify(what) });
}

async function reached(request) {
  try {
    return await request;
  } catch {
    throw new Refusal("The console can't be reached, so nothing is known of what you asked for.");
  }
}

async function read(response) {
  try {
    return await response.json();
  } catch {
    return {};
  }
}
