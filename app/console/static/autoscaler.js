// One autoscaler, live: how its pod count is computed, its last hour, another target tried, the load test.

import { chart } from "./chart.js";
import { refreshDialog } from "./dialogs.js";
import { h, keyed, setAttribute, setClass, setText } from "./dom.js";
import { feed } from "./feed.js";
import { keyboard } from "./keyboard.js";
import { LoadTest, predictedLines } from "./load_test.js";
import { autoscalerLines } from "./series.js";
import { WhatIf } from "./what_if.js";
import { capital, clock, known, latenesses, plural } from "./words.js";

const part = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);
const query = { namespace: asked.get("namespace"), name: asked.get("name") };
const draw = chart(part("chart"), `Metric and pods of ${query.namespace}/${query.name} over time`);
const whatIf = new WhatIf(part("slider"), query);
const loadTest = new LoadTest(part("load-test"), query);

feed("autoscaler", query, show);
keyboard(null);

function show(state) {
  const one = state.document.autoscalers?.[0];
  setText(part("sentence"), one ? `${capital(one.decision.sentence)}.` : capital(state.document.autoscalersError?.message ?? "This autoscaler is unknown."));
  if (one) showAutoscaler(one);
  const late = latenesses(state);
  keyed(part("late"), late, (_, index) => index, () => h("li", { class: "note" }), (element, words) => setText(element, words));
  setClass(part("main"), "late", late.length > 0);
  const findings = [...(one?.scaling?.obstacles ?? []), ...(state.document.metrics ?? []).flatMap((metric) => metric.findings)];
  keyed(part("findings"), findings, (finding) => finding.sentence + finding.fix, newFinding, () => {});
  const { series } = state;
  const lines = series ? autoscalerLines(series) : [];
  draw({ now: state.now, unit: series?.unit ?? "value", late: late.length > 0, stacks: [], lines: [...lines, ...predictedLines(state.loadTest)], events: state.events });
  whatIf.show(one, series);
  loadTest.show(state.loadTest, state.now);
  refreshDialog();
}

function showAutoscaler(one) {
  // The console may not know how many pods are ready: it reads no more of a workload than its scale.
  const { wanted, present, ready, live } = one.pods;
  const current = [present !== wanted ? ` · ${present} current` : "", known(ready) && ready !== present ? ` · ${ready} ready` : ""].join("");
  setText(part("workload"), `scales ${one.workload.kind}/${one.workload.name} from ${one.minReplicas} to ${plural(one.maxReplicas, "pod")}${live ? current : ""}`);
  const decides = one.decision.steps.findLastIndex((step) => JSON.stringify(step) === JSON.stringify(one.decision.decidedBy));
  keyed(part("steps"), one.decision.steps.map((step, index) => ({ step, index })), ({ step, index }) => `${index} ${step.stage}`, newStep,
    (element, { step, index }) => updateStep(element, step, index === decides ? one.decision.when : null));
  keyed(part("conditions"), one.conditions, ({ type }) => type, newCondition, updateCondition);
  part("scaling").hidden = !one.scaling;
  setText(part("scaling"), one.scaling ? `${capital(one.scaling.sentence)}.` : "");
  showEvents(one);
}

// What Kubernetes has, newest first. Anyone who may create Events in the namespace can write any text into them.
function showEvents({ events, eventsError }) {
  part("events-error").hidden = !eventsError;
  setText(part("events-error"), eventsError ? `${capital(eventsError)}.` : "");
  const keys = ({ time, reason, component, message, count }) => JSON.stringify([time, reason, component, message, count]);
  keyed(part("events"), events, keys, newEvent, () => {});
  if (!events.length && !eventsError) part("events").replaceChildren(h("li", { class: "quiet" }, "Kubernetes has no Events of this HPA; by default it keeps them for an hour."));
}

function newEvent({ time, type, reason, component, count, message }) {
  const times = count > 1 ? `, ${plural(count, "time")}` : "";
  return h("li", {}, h("time", { datetime: time, title: time }, clock(Date.parse(time) / 1000)),
    h("span", { class: "name" }, h("b", { class: type === "Warning" ? "warn" : null }, reason), ` (${component}${times}): ${message}`));
}

function newFinding({ sentence: words, fix }) {
  return h("li", { class: "note" }, capital(words), fix ? h("p", { class: "quiet" }, `→ ${capital(fix)}`) : null);
}

function newStep({ step }) {
  return h("li", {}, h("span", { class: "stage" }, step.stage), h("span", { class: "said name" }), h("span", { class: "pods" }), h("span", { class: "decides", hidden: true }));
}

// `when`: of the deciding step, when it takes effect.
function updateStep(element, step, when) {
  const [, said, pods, mark] = element.children;
  setText(said, step.sentence);
  setText(pods, step.before === step.after ? plural(step.after, "pod") : `${step.before} → ${plural(step.after, "pod")}`);
  mark.hidden = when === null;
  setText(mark, `this decides: ${when}`);
  setAttribute(element, "aria-current", when === null ? null : "step");
}

function newCondition() {
  return h("div", {}, h("dt"), h("dd", { class: "quiet name" }), h("dd", { class: "fix name" }));
}

// A condition with a hint is marked as an error.
function updateCondition(element, condition) {
  const [title, message, fix] = element.children;
  setText(title, capital(condition.words));
  setText(message, condition.fix && condition.message ? `${condition.type}: “${condition.message}”` : condition.type);
  setText(fix, condition.fix ? `→ ${capital(condition.fix)}` : "");
  setClass(element, "bad", Boolean(condition.fix));
}
