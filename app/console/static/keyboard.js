// Keys: / searches, j and k move through the list, Enter opens (by the browser), t and a are pages, ? is help, Esc leaves.

import { prefix } from "./api.js";
import { h } from "./dom.js";

const KEYS = [["/", "search tubes"], ["j", "next in the list"], ["k", "previous in the list"], ["Enter", "open it"], ["t", "all tubes"],
  ["a", "autoscalers"], ["← →", "read values in the focused chart"], ["Esc", "leave a field or a dialog"], ["?", "show these keys"]];

// `more`: [[key, what it does, function], …] of this page
export function keyboard(list, more = []) {
  const help = helpDialog(more);
  document.getElementById("keys").addEventListener("click", () => help.showModal());
  const keys = {
    "/": () => search(),
    "?": () => help.showModal(),
    j: () => step(list, 1),
    k: () => step(list, -1),
    t: () => location.assign(`${prefix}/`),
    a: () => location.assign(`${prefix}/autoscalers`),
    ...Object.fromEntries(more.map(([key, , does]) => [key, does])),
  };
  document.addEventListener("keydown", (event) => pressed(event, keys));
}

function pressed(event, keys) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.closest("input:not([type=checkbox], [type=range]), select, textarea");
  if (typing) {
    if (event.key === "Escape") typing.blur();
    return;
  }
  const does = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
  if (!does) return;
  event.preventDefault();
  does();
}

function search() {
  const field = document.getElementById("search");
  if (field) field.select();
  else location.assign(`${prefix}/#search`);
}

function step(list, by) {
  const links = [...(list?.querySelectorAll("[data-row-link]") ?? [])];
  if (!links.length) return;
  const here = links.findIndex((link) => link.closest("tr, li").contains(document.activeElement));
  const next = here < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(Math.max(here + by, 0), links.length - 1);
  links[next].focus();
  links[next].closest("tr, li").scrollIntoView({ block: "nearest" });
}

function helpDialog(more) {
  const rows = [...KEYS, ...more].map(([key, does]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, does)]);
  const dialog = h("dialog", { "aria-labelledby": "keys-title" },
    h("form", { method: "dialog" }, h("h2", { id: "keys-title" }, "Keys"), h("dl", { class: "keys" }, rows),
      h("div", { class: "buttons" }, h("button", { class: "main" }, "Close"))));
  document.body.append(dialog);
  return dialog;
}
