/**
 * Makes an element: `el("button", { class: "quiet", onclick }, "Text", …)`. Everything that comes from users or models
 * is given as text, so that none of it is ever read as HTML.
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** `crypto.randomUUID` exists on https and localhost alone; this also where a phone opens the page by its address. */
export function randomId(prefix, bytes = 16) {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return prefix + Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
