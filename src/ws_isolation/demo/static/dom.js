// Elements in one line, and texts in which every canary shows whose it is.

const SVG = "http://www.w3.org/2000/svg";
const CANARY = /(canary-[a-z]+-[0-9a-f]{8})/;

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Make an HTML element: h("p", {class: "x"}, "text", child). */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** Make an SVG element. */
export function s(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

/** Show *text* in *element*, each canary as a coloured mark of the user it belongs to. */
export function showText(element, text) {
  const parts = text.split(CANARY).filter((part) => part !== "");
  element.replaceChildren(
    ...parts.map((part) => (CANARY.test(part) ? h("mark", { class: `canary ${part.split("-")[1]}` }, part) : part)),
  );
}

/** Milliseconds as people read them. */
export function duration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
