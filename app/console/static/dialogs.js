// Dialogs made of fields, with a live description, a typed confirmation where needed, and the error if there is one; and toasts.

import { h, setText } from "./dom.js";

const TOAST_MS = 8000;
const MAX_TOASTS = 4;
const toasts = document.getElementById("toasts");

let refreshOpen = () => {};

// Update the live description of the open dialog: call it with each update of the page.
export const refreshDialog = () => refreshOpen();

// what: {title, live: values => text, destroys, fields: [field, …], confirm: text to type or null, button, incomplete: values => bool,
// run: (values, progress) => Promise of {message}; progress("so far") returns whether to continue, done: () => void}
// field: {name, label, help, kind: "number"|"text"|"lines"|"file"|"choice"|"checks", value, min, max, options: [[value, label], …], shown: values => bool}
export function openDialog(what) {
  const error = h("p", { class: "error", role: "alert", hidden: true });
  const live = h("p", { class: what.destroys ? "live destroys" : "live", "aria-live": "polite" });
  const fields = what.fields.map(made);
  const typed = what.confirm ? made({ name: "confirm", label: `To confirm, enter the tube's name: ${what.confirm}`, kind: "text", value: "" }) : null;
  const go = h("button", { type: "submit", class: what.destroys ? "main destroys" : "main" }, what.button);
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const form = h("form", { novalidate: false }, h("h2", { id: "dialog-title" }, what.title), live, fields.map(({ element }) => element), typed?.element, error,
    h("div", { class: "buttons" }, cancel, go));
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  const values = () => Object.fromEntries([...fields, ...(typed ? [typed] : [])].map(({ name, read }) => [name, read()]));

  function refresh() {
    const now = values();
    setText(live, what.live?.(now) ?? "");
    live.hidden = !live.textContent;
    for (const field of fields) field.element.hidden = field.shown ? !field.shown(now) : false;
    go.disabled = Boolean((typed && now.confirm !== what.confirm) || what.incomplete?.(now));
  }

  function progress(soFar) {
    setText(go, `Working… ${soFar}`);
    return dialog.open;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    error.hidden = true;
    setText(go, "Working…");
    try {
      const { message } = await what.run(values(), progress);
      dialog.close();
      toast(message);
    } catch (failed) {
      error.hidden = false;
      setText(error, failed.message);
    }
    setText(go, what.button);
    refresh();
    what.done?.();
  });
  form.addEventListener("input", refresh);
  dialog.addEventListener("close", () => {
    refreshOpen = () => {};
    dialog.remove();
  });
  refreshOpen = refresh;
  document.body.append(dialog);
  refresh();
  dialog.showModal();
  (fields[0]?.focus ?? typed?.focus ?? cancel).focus();
}

// A message at the edge of the page, also for screen readers; an error stays until it is dismissed.
export function toast(sentence, good = true) {
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: () => box.remove() }, "×");
  const box = h("div", { class: good ? "toast" : "toast bad", role: good ? null : "alert" },
    h("b", { "aria-hidden": "true" }, good ? "✓" : "!"), h("span", {}, sentence), close);
  toasts.append(box);
  while (toasts.children.length > MAX_TOASTS) toasts.firstElementChild.remove();
  if (good) setTimeout(() => box.remove(), TOAST_MS);
}

function made(field) {
  const id = `field-${field.name}`;
  const { name, shown } = field;
  const help = field.help ? h("small", { id: `${id}-help` }, field.help) : null;
  if (field.kind === "choice" && field.options.length < 4) return { name, shown, ...choice(field, help) };
  if (field.kind === "checks") return { name, shown, ...checks(field, help) };
  const input = inputOf(field, { id, name, "aria-describedby": help ? `${id}-help` : null });
  const read = { number: () => (input.value === "" ? null : Number(input.value)), file: () => input.files[0] ?? null }[field.kind] ?? (() => input.value);
  return { name, shown, read, focus: input, element: h("div", { class: "field" }, h("label", { for: id }, field.label), input, listed(field, input), help) };
}

function inputOf(field, attributes) {
  const { kind, value = "", min, max } = field;
  if (kind === "lines") return Object.assign(h("textarea", { ...attributes, rows: 6, spellcheck: "false" }), { value });
  if (kind === "choice") return h("select", attributes, field.options.map(([key, label]) => h("option", { value: key, selected: key === value }, label)));
  if (kind === "file") return h("input", { ...attributes, type: "file" });
  const number = kind === "number" ? { min, max, step: field.step ?? 1, inputmode: "numeric", required: !field.shown } : { autocomplete: "off", spellcheck: "false" };
  return h("input", { ...attributes, type: kind, value: String(value), required: field.required, ...number });
}

// Suggestions; any other text can be typed.
function listed(field, input) {
  if (!field.suggestions) return null;
  const id = `${input.id}-list`;
  input.setAttribute("list", id);
  return h("datalist", { id }, field.suggestions.map((value) => h("option", { value })));
}

function choice({ name, label, options, value }, help) {
  const radios = options.map(([key]) => h("input", { type: "radio", name, value: key, checked: key === value }));
  const element = h("fieldset", { class: "field" }, h("legend", {}, label), radios.map((radio, index) => h("label", { class: "check" }, radio, options[index][1])), help);
  return { element, focus: radios.find((radio) => radio.checked), read: () => radios.find((radio) => radio.checked)?.value ?? null };
}

function checks({ name, label, options, value }, help) {
  const boxes = options.map(([key]) => h("input", { type: "checkbox", name, value: key, checked: value.includes(key) }));
  const element = h("fieldset", { class: "field" }, label ? h("legend", {}, label) : null, boxes.map((box, index) => h("label", { class: "check" }, box, options[index][1])), help);
  return { element, focus: boxes[0], read: () => boxes.filter((box) => box.checked).map((box) => box.value) };
}
