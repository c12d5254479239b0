// All autoscalers that use a beanscale metric, each with the sentence why it does or doesn't scale.

import { autoscalerAddress } from "./api.js";
import { h, keyed, setClass, setText, setValue } from "./dom.js";
import { feed } from "./feed.js";
import { keyboard } from "./keyboard.js";
import { UNKNOWN, capital, count, latenesses, measured } from "./words.js";

const part = (id) => document.getElementById(id);
const list = part("autoscalers");

feed("autoscalers", {}, show);
keyboard(list);

function show(state) {
  const late = latenesses(state);
  keyed(part("late"), late, (_, index) => index, () => h("li", { class: "note" }), (element, words) => setText(element, words));
  setClass(part("main"), "late", late.length > 0);
  part("why").hidden = state.available || state.cluster.late;
  setText(part("why"), capital(state.why ?? ""));
  keyed(list, state.autoscalers, ({ namespace, name }) => `${namespace}/${name}`, newCard, updateCard);
  part("nothing").hidden = state.autoscalers.length > 0 || !state.available;
}

function newCard(one) {
  return h("li", { class: "card" }, h("div", { class: "headline" }, h("h2", {}, h("a", { class: "name", href: autoscalerAddress(one), "data-row-link": true }, `${one.namespace}/${one.name}`)),
    h("span", { class: "quiet name" }, one.target)), h("p", { class: "said" }), h("p", { class: "scaling quiet" }), h("dl", { class: "facts" }));
}

function updateCard(card, one) {
  setText(card.querySelector(".said"), capital(one.sentence));
  const { scaling } = one;
  card.querySelector(".scaling").hidden = !scaling;
  setText(card.querySelector(".scaling"), scaling ? [scaling, ...scaling.obstacles].map(({ sentence }) => `${capital(sentence)}.`).join(" ") : "");
  const metrics = one.metrics.map(({ name, selector, total, target, unit }) =>
    [selector ? `${name}{${selector}}` : name, `${total === null ? UNKNOWN : measured(total, unit === "jobs" ? null : unit)}, target ${measured(target.amount, unit === "jobs" ? null : unit)}${target.type === "AverageValue" ? " per pod" : ""}`]);
  const facts = [["pods", count(one.current)], ["desired", count(one.desired)], ["min … max", `${count(one.min)} … ${count(one.max)}`], ...metrics];
  keyed(card.querySelector(".facts"), facts, ([name]) => name, ([name]) => h("div", {}, h("dt", { class: "name" }, name), h("dd")), (element, [, value]) => setValue(element.lastElementChild, value));
}
