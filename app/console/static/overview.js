// All tubes, live. The server searches, sorts and pages, so that ten thousand tubes are as quick as ten.

import { address, autoscalerAddress, initial, tubeAddress } from "./api.js";
import { h, keyed, setAttribute, setClass, setText } from "./dom.js";
import { feed } from "./feed.js";
import { keyboard } from "./keyboard.js";
import { sparkline } from "./sparkline.js";
import { ago, count, known, lateness, notesOf, plural, rate, reasonOf } from "./words.js";

const NUMBERS = [["ready", "ready", count], ["reserved", "reserved", count], ["delayed", "delayed", count], ["buried", "buried", count],
  ["putPerSecond", "put/s", rate], ["deletedPerSecond", "deleted/s", rate], ["watching", "workers", count]];
const TYPING_MS = 180;

const table = document.getElementById("tubes");
const body = table.tBodies[0];
const find = document.getElementById("find");
const part = (id) => document.getElementById(id);
let query = queryInAddress();

// The page's address has the query, so that it can be bookmarked and shared.
function queryInAddress() {
  const given = new URLSearchParams(location.search);
  const { query: shown } = initial();
  return { q: given.get("q") ?? "", sort: given.get("sort") ?? shown?.sort ?? "-ready", page: Number(given.get("page")) || 1,
    size: Number(given.get("size")) || null, gone: given.has("gone") ? given.get("gone") !== "0" : Boolean(shown?.gone) };
}

function asParameters({ q, sort, page, size, gone }) {
  return { q, sort, page, size, gone: gone ? 1 : 0 };
}

const live = feed("overview", asParameters(query), show);
keyboard(body);

function ask(change, remember = true) {
  query = { ...query, page: 1, ...change };
  const here = address("/", asParameters(query));
  if (remember) history.pushState(null, "", here);
  else history.replaceState(null, "", here);
  live.ask(asParameters(query));
}

function show(state) {
  const several = state.servers.length > 1;
  keyed(part("servers"), state.servers, (one) => one.name, newServer, (element, one) => updateServer(element, one, state.now));
  const problems = state.servers.flatMap(({ name, problems: found }) => found.map((problem) => ({ server: name, ...problem })));
  keyed(part("problems"), problems, ({ server, text }) => `${server} ${text}`, newProblem, () => {});
  keyed(body, state.tubes, (row) => JSON.stringify([row.server, row.tube]), newRow, (element, row) => updateRow(element, row, several));
  setText(part("total"), plural(state.total, "tube"));
  part("nothing").hidden = state.tubes.length > 0;
  setText(part("nothing"), query.q ? `No tube has “${query.q}” in its name.` : "There are no tubes yet. beanstalkd creates a tube when a client puts a job into it or watches it.");
  for (const heading of table.querySelectorAll("th[data-sort]")) {
    const sorted = query.sort.replace("-", "") === heading.dataset.sort;
    setAttribute(heading, "aria-sort", sorted ? (query.sort.startsWith("-") ? "descending" : "ascending") : null);
  }
  setText(part("where"), state.pages > 1 ? `page ${count(state.page)} of ${count(state.pages)}` : "");
  turn(part("previous"), state.page > 1, state.page - 1);
  turn(part("next"), state.page < state.pages, state.page + 1);
}

function turn(link, there, page) {
  link.hidden = !there;
  setAttribute(link, "href", there ? address("/", { ...asParameters(query), page }) : null);
  link.dataset.to = page;
}

function newServer(server) {
  return h("li", { class: "server" }, h("strong", {}, server.name), h("span", { class: "quiet name" }), h("span", { class: "says" }));
}

function updateServer(element, server, now) {
  element.dataset.up = server.up ? "yes" : "no";
  setClass(element, "late", server.late);
  setText(element.children[1], server.address);
  const isRecent = known(server.restartedAt) && now - server.restartedAt < 3600;
  const restarted = isRecent ? [`restarted ${ago(now - server.restartedAt)}: ${server.restart}`] : [];
  setClass(element.children[2], "warn", isRecent && server.lostJobs);
  const draining = server.draining ? ["draining: accepts no new jobs"] : [];
  const read = server.late ? lateness(server) : [plural(server.tubes, "tube"), ...(server.ageSeconds > 3 ? [`read ${ago(server.ageSeconds)}`] : [])];
  setText(element.children[2], [...read, ...draining, ...restarted].join(" · "));
}

function newProblem({ server, text, tubes }) {
  const links = tubes.map((tube) => h("a", { class: "chip", href: tubeAddress({ server, tube }) }, tube));
  return h("li", { class: "note" }, text, links.length ? h("p", { class: "chips" }, links) : null);
}

function newRow(row) {
  const link = h("a", { href: tubeAddress(row), "data-row-link": true }, row.tube);
  const cells = NUMBERS.map(([name, label]) => h("td", { role: "cell", class: `number ${name}`, "data-label": label }));
  return h("tr", { role: "row" }, h("th", { role: "rowheader", scope: "row", class: "name" }, link, " ", h("span", { class: "quiet" })),
    cells, h("td", { role: "cell", class: "spark" }, sparkline()), h("td", { role: "cell", class: "notes" }, h("span", { class: "chips" })));
}

function updateRow(element, row, several) {
  const [name, ...cells] = element.children;
  setText(name.lastElementChild, several ? row.server : "");
  NUMBERS.forEach(([key, , words], index) => {
    const value = row[key];
    setText(cells[index], key === "watching" && row.waiting ? `${words(value)}, ${count(row.waiting)} idle` : words(value));
    setClass(cells[index], "zero", value === 0);
    setClass(cells[index], "unknown", !known(value));
    setAttribute(cells[index], "title", reasonOf(row, key));
  });
  cells[NUMBERS.length].firstElementChild.drawSpark(row.spark);
  setClass(element, "stale", row.late || !row.fresh);
  setClass(element, "gone", row.gone);
  keyed(cells.at(-1).firstElementChild, chips(row), (chip) => chip.key, newChip, () => {});
}

function chips(row) {
  return notesOf(row).map(({ code, words }) => ({ key: `note ${words}`, words, code }))
    .concat((row.autoscalers ?? []).map((one) => ({ key: `hpa ${one.namespace}/${one.name}`, words: `⇅ ${one.name}`, one })));
}

function newChip({ words, code, one }) {
  if (one) return h("a", { class: "chip", href: autoscalerAddress(one), title: `autoscaler ${one.namespace}/${one.name}` }, words);
  return h("span", { class: code === "gone" ? "chip" : "chip warn" }, words);
}

let typing = 0;
part("search").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => ask({ q: event.target.value.trim() }, false), TYPING_MS);
});
part("gone").addEventListener("change", (event) => ask({ gone: event.target.checked }));
part("sort").addEventListener("change", (event) => ask({ sort: event.target.value }));
find.addEventListener("submit", (event) => {
  event.preventDefault();
  ask({ q: part("search").value.trim() });
});
table.tHead.addEventListener("click", (event) => {
  const key = event.target.closest("th[data-sort]")?.dataset.sort;
  if (!key || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const first = key === "tube" ? key : `-${key}`;
  ask({ sort: query.sort === first ? (key === "tube" ? `-${key}` : key) : first });
});
part("pages").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  ask({ page: Number(link.dataset.to) });
  scrollTo({ top: 0 });
});
addEventListener("popstate", () => {
  query = queryInAddress();
  part("search").value = query.q;
  part("gone").checked = query.gone;
  live.ask(asParameters(query));
});
if (location.hash === "#search") part("search").focus();
