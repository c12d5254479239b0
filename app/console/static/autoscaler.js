// One autoscaler, live: how its pod count is computed, its last hour, another target tried, the load test.

import { chart } from "./chart.js";
import { refreshDialog } from "./dialogs.js";
import { h, keyed, setAttribute, setClass, setText } from "./dom.js";
import { feed } from "./feed.js";
import { keyboard } from "./keyboard.js";
import { LoadTest, predictedLines } from "./load_test.js";
import { autoscalerLines } from "./series.js";
import { WhatIf } from "./what_if.js";
import { capital, known, latenesses, plural } from "./words.js";

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
  const findings = (state.document.metrics ?? []).flatMap((metric) => metric.findings);
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
    (element, { step, index }) => updateStep(element, step, index === decides));
  keyed(part("conditions"), one.conditions, ({ type }) => type, newCondition, updateCondition);
}

function newFinding({ sentence: words, fix }) {
  return h("li", { class: "note" }, capital(words), fix ? h("p", { class: "quiet" }, `→ ${capital(fix)}`) : null);
}

function newStep({ step }) {
  return h("li", {}, h("span", { class: "stage" }, step.stage), h("span", { class: "said name" }), h("span", { class: "pods" }), h("span", { class: "decides", hidden: true }, "this decides"));
}

function updateStep(element, step, decides) {
  const [, said, pods, mark] = element.children;
  setText(said, step.sentence);
  setText(pods, step.before === step.after ? plural(step.after, "pod") : `${step.before} → ${plural(step.after, "pod")}`);
  mark.hidden = !decides;
  setAttribute(element, "aria-current", decides ? "step" : null);
}

function newCondition() {
  return h("div", {}, h("dt"), h("dd", { class: "said name" }), h("dd", { class: "quiet name" }), h("dd", { class: "fix name" }));
}

// A condition with a hint is marked as an error.
function updateCondition(element, condition) {
  const [title, words, message, fix] = element.children;
  setText(title, `${capital(condition.words)}`);
  setText(words, "");
  setText(message, condition.fix && condition.message ? `${condition.type}: “${condition.message}”` : condition.type);
  setText(fix, condition.fix ? `→ ${capital(condition.fix)}` : "");
  setClass(element, "bad", Boolean(condition.fix));
}
