// Requests to the console: addresses below the path prefix, JSON in and out, the session's CSRF token with each action.

const root = document.documentElement.dataset;
const token = document.querySelector('meta[name="csrf"]')?.content ?? "";

export const prefix = root.prefix ?? "";
export const readOnly = "readOnly" in root;

// address("/tube", {server: "eu", name: "a/b"}); empty and null values are left out.
export function address(path, query = {}) {
  const present = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  const search = new URLSearchParams(present.map(([name, value]) => [name, value === true ? "1" : value])).toString();
  return prefix + path + (search ? `?${search}` : "");
}

// The query parameters of a tube's row.
export const ofTube = (row) => ({ server: row.server, name: row.tube });

export const tubeAddress = (row) => address("/tube", ofTube(row));

export const autoscalerAddress = ({ namespace, name }) => address("/autoscaler", { namespace, name });

// The data from which the server rendered the page.
export const initial = () => JSON.parse(document.getElementById("initial").textContent);

// The sign-in page leads back to this one.
export const signIn = () => location.assign(address("/login", { next: location.pathname.slice(prefix.length) + location.search }));

// `message` is a sentence for people; `status` is 0 if there was no response.
export class ConsoleError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

// Returns the response's JSON; throws ConsoleError.
export async function ask(path, query, options = {}) {
  let response;
  try {
    response = await fetch(address(path, query), { credentials: "same-origin", ...options });
  } catch {
    const uncertain = options.method === "POST" ? " Your action may have been applied: check before you retry." : "";
    throw new ConsoleError(`The console can't be reached.${uncertain}`);
  }
  if (response.status === 401) signIn();
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ConsoleError(answer.error ?? `The console responded with status ${response.status}.`, response.status);
  return answer;
}

// An action: FormData is sent as a form with its file, anything else as JSON. Returns {message, count, id, more}.
export function act(name, parameters) {
  const form = parameters instanceof FormData;
  const headers = { "X-CSRF-Token": token, ...(form ? {} : { "Content-Type": "application/json" }) };
  return ask(`/actions/${name}`, {}, { method: "POST", headers, body: form ? parameters : JSON.stringify(parameters) });
}
