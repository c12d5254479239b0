// Creates elements without HTML strings: tube names and job bodies stay text.

import { UNKNOWN } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

// h("a", {class: "name", href: "/"}, "text", element, …); on… are listeners, null children and attributes are left out
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Writes only if the text changed, which avoids layout work on live pages.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Shows a number, and "unknown" not as one.
export function setValue(element, text) {
  setText(element, text);
  setClass(element, "unknown", text.startsWith(UNKNOWN));
}

export function setClass(element, name, on) {
  if (element.classList.contains(name) !== Boolean(on)) element.classList.toggle(name, Boolean(on));
}

export function setAttribute(element, name, value) {
  const text = value === null || value === false ? null : value === true ? "" : String(value);
  if (element.getAttribute(name) === text) return;
  if (text === null) element.removeAttribute(name);
  else element.setAttribute(name, text);
}

// The children of `parent` become one element for each item, in order; an item keeps its element by its key.
export function keyed(parent, items, key, make, update) {
  const known = (parent.keyedElements ??= new Map());
  const wanted = new Map(items.map((item, index) => [key(item, index), item]));
  for (const [name, element] of known) {
    if (wanted.has(name)) continue;
    element.remove();
    known.delete(name);
  }
  let position = 0;
  for (const [name, item] of wanted) {
    let element = known.get(name);
    if (!element) known.set(name, (element = make(item)));
    update(element, item);
    if (parent.children[position] !== element) parent.insertBefore(element, parent.children[position] ?? null);
    position += 1;
  }
  while (parent.children.length > position) parent.lastElementChild.remove(); // what the server rendered
}
