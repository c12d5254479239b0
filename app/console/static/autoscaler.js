// One autoscaler, live: why it has the pods it has, its last hour, what another target would make of it, the load lab.

import { chart } from "./chart.js";
import { refreshDialog } from "./dialogs.js";
import { h, keyed, setAttribute, setClass, setText } from "./dom.js";
import { feed } from "./feed.js";
import { keyboard } from "./keyboard.js";
import { Lab } from "./lab.js";
import { autoscalerLines } from "./series.js";
import { WhatIf } from "./what_if.js";
import { capital, plural } from "./words.js";

const part = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);
const query = { namespace: asked.get("namespace"), name: asked.get("name") };
const draw = chart(part("chart"), `Metric and pods of ${query.namespace}/${query.name} over time`);
const whatIf = new WhatIf(part("slider"), query);
const lab = new Lab(part("lab"), query);

feed("autoscaler", query, show);
keyboard(null);

function show(state) {
  const one = state.document.autoscalers?.[0];
  setText(part("sentence"), one ? sentence(one) : capital(state.document.autoscalersError?.message ?? "This autoscaler isn't known (any more)."));
  if (one) showAutoscaler(one);
  const findings = (state.document.metrics ?? []).flatMap((metric) => metric.findings);
  keyed(part("findings"), findings, (finding) => finding.sentence + finding.fix, newFinding, () => {});
  const { series } = state;
  const lines = series ? autoscalerLines(series) : [];
  draw({ now: state.now, stacks: [], lines: [...lines, ...lab.lines(state.lab)], events: state.events ?? series?.events ?? [] });
  whatIf.show(one, series);
  lab.show(state.lab, one, state.now);
  refreshDialog();
}

// "2 pods now → 7: the formula decides."
function sentence({ pods, decision }) {
  const { decidedBy } = decision;
  const moves = decision.pods === pods.wanted ? `${plural(pods.wanted, "pod")}, and it stays so` : `${plural(pods.wanted, "pod")} now → ${decision.pods}`;
  const about = decision.lowest === decision.highest ? "" : ` From ${decision.lowest} to ${decision.highest} is possible: its earlier wishes and changes count too, and only Kubernetes remembers them.`;
  return `${moves}: ${decidedBy.sentence}.${about}`;
}

function showAutoscaler(one) {
  const there = one.pods.present === one.pods.wanted && one.pods.ready === one.pods.present ? "" : ` · ${one.pods.present} there, ${one.pods.ready ?? "unknown how many"} ready`;
  setText(part("workload"), `scales ${one.workload.kind}/${one.workload.name} from ${one.minReplicas} to ${one.maxReplicas} pods${there}`);
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

// Whatever has something to do about it is marked as trouble.
function updateCondition(element, told) {
  const [title, words, message, fix] = element.children;
  setText(title, `${capital(told.words)}`);
  setText(words, "");
  setText(message, told.fix && told.message ? `${told.type}: “${told.message}”` : told.type);
  setText(fix, told.fix ? `→ ${capital(told.fix)}` : "");
  setClass(element, "bad", Boolean(told.fix));
}
