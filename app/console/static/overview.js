// All tubes, live; the server searches, sorts and pages, so that ten thousand of them are as quick as ten.

import { address, autoscalerAddress, initial, tubeAddress } from "./api.js";
import { h, keyed, setAttribute, setClass, setText } from "./dom.js";
import { feed } from "./feed.js";
import { keyboard } from "./keyboard.js";
import { sparkline } from "./sparkline.js";
import { SEEN_EARLIER, ago, count, known, notesOf, plural, rate } from "./words.js";

const NUMBERS = [["ready", "ready", count], ["reserved", "reserved", count], ["delayed", "delayed", count], ["buried", "buried", count],
  ["putPerSecond", "put/s", rate], ["deletedPerSecond", "done/s", rate], ["watching", "workers", count]];
const TYPING_MS = 180;

const table = document.getElementById("tubes");
const body = table.tBodies[0];
const find = document.getElementById("find");
const part = (id) => document.getElementById(id);
let query = asked();

// The page's address holds the query, so that it can be kept, sent and gone back to.
function asked() {
  const told = new URLSearchParams(location.search);
  const { query: shown } = initial();
  return { q: told.get("q") ?? "", sort: told.get("sort") ?? shown?.sort ?? "-ready", page: Number(told.get("page")) || 1,
    size: Number(told.get("size")) || null, gone: told.has("gone") ? told.get("gone") !== "0" : Boolean(shown?.gone) };
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
  keyed(part("servers"), state.servers, (one) => `${one.name} ${one.member ?? ""}`, newServer, (element, one) => updateServer(element, one, state.now));
  keyed(body, state.tubes, (row) => JSON.stringify([row.server, row.member, row.tube]), newRow, (element, row) => updateRow(element, row, several));
  setText(part("total"), plural(state.total, "tube"));
  part("nothing").hidden = state.tubes.length > 0;
  setText(part("nothing"), query.q ? `No tube has “${query.q}” in its name.` : "There is no tube yet. beanstalkd makes one when somebody puts a job into it or listens to it.");
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
  setText(element.children[1], server.member ? `${server.address} (${server.member})` : server.address);
  const restarted = known(server.restartedAt) && now - server.restartedAt < 3600 ? [`restarted ${ago(now - server.restartedAt)}`] : [];
  const draining = server.draining ? ["draining: takes no new jobs"] : [];
  const read = server.up ? [`${count(server.tubes)} tube${server.tubes === 1 ? "" : "s"}`, ...(server.ageSeconds > 3 ? [`read ${ago(server.ageSeconds)}`] : [])]
    : [`can't be read: ${server.failure ?? "its first answer is awaited"}`, known(server.ageSeconds) ? `last read ${ago(server.ageSeconds)}` : "never read"];
  setText(element.children[2], [...read, ...draining, ...restarted].join(" · "));
}

function newRow(row) {
  const link = h("a", { href: tubeAddress(row), "data-row-link": true }, row.tube);
  const cells = NUMBERS.map(([name, label]) => h("td", { role: "cell", class: `number ${name}`, "data-label": label }));
  return h("tr", { role: "row" }, h("th", { role: "rowheader", scope: "row", class: "name" }, link, " ", h("span", { class: "quiet" })),
    cells, h("td", { role: "cell", class: "spark" }, sparkline()), h("td", { role: "cell", class: "notes" }, h("span", { class: "chips" })));
}

function updateRow(element, row, several) {
  const [name, ...cells] = element.children;
  setText(name.lastElementChild, several ? [row.server, row.member].filter(Boolean).join(" ") : "");
  NUMBERS.forEach(([key, , words], index) => {
    const value = row[key];
    setText(cells[index], key === "watching" && row.waiting ? `${words(value)}, ${count(row.waiting)} idle` : words(value));
    setClass(cells[index], "zero", value === 0);
    setClass(cells[index], "unknown", !known(value));
  });
  cells[NUMBERS.length].firstElementChild.drawSpark(row.spark);
  setClass(element, "stale", !row.fresh);
  setClass(element, "gone", row.gone);
  keyed(cells.at(-1).firstElementChild, chips(row), (chip) => chip.key, newChip, () => {});
}

// Told by words as well as by the paler row.
function chips(row) {
  return notesOf(row).map((words) => ({ key: `note ${words}`, words }))
    .concat((row.autoscalers ?? []).map((one) => ({ key: `hpa ${one.namespace}/${one.name}`, words: `⇅ ${one.name}`, one })));
}

function newChip({ words, one }) {
  if (one) return h("a", { class: "chip", href: autoscalerAddress(one), title: `autoscaler ${one.namespace}/${one.name}` }, words);
  return h("span", { class: words === SEEN_EARLIER ? "chip" : "chip warn" }, words);
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
  query = asked();
  part("search").value = query.q;
  part("gone").checked = query.gone;
  live.ask(asParameters(query));
});
if (location.hash === "#search") part("search").focus();
