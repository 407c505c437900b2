// Building and changing the page. Text only ever goes in as text: nothing here parses markup.

import { printable } from "./words.js";

export const byId = (id) => document.getElementById(id);

// el("td", { class: "count" }, "text", node, …): falsy children are left out.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== undefined && value !== null) node.setAttribute(name, value);
  }
  for (const child of children.flat()) {
    if (child instanceof Node) node.append(child);
    else if (child) node.append(printable(child));
  }
  return node;
}

// Only what changed is touched, so that a selection, the focus and a screen reader keep their place.
export function setText(node, text) {
  const shown = printable(text);
  if (node.textContent !== shown) node.textContent = shown;
}

export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// Make the children of `parent` the given nodes in the given order, moving as few as possible.
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.childNodes]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, position) => {
    if (parent.childNodes[position] !== node) parent.insertBefore(node, parent.childNodes[position] ?? null);
  });
}

const builtFrom = new WeakMap();

// Rebuild `parent` only when `value` differs from what it was built from.
export function rebuild(parent, value, build) {
  const key = JSON.stringify(value);
  if (builtFrom.get(parent) === key) return;
  builtFrom.set(parent, key);
  parent.replaceChildren(...build(value));
}
