// What happened, told at the page's edge and to screen readers; good news leave by themselves, trouble stays.

import { h } from "./dom.js";

const STAYS_MS = 8000;
const MOST = 4;
const place = document.getElementById("toasts");

export function toast(sentence, good = true) {
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: () => box.remove() }, "×");
  const box = h("div", { class: good ? "toast" : "toast bad", role: good ? null : "alert" },
    h("b", { "aria-hidden": "true" }, good ? "✓" : "!"), h("span", {}, sentence), close);
  place.append(box);
  while (place.children.length > MOST) place.firstElementChild.remove();
  if (good) setTimeout(() => box.remove(), STAYS_MS);
}
