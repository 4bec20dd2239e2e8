/**
 * Makes elements. Strings are always text, never HTML, so nothing that a server or a user says can become markup.
 */

const PROPERTIES = new Set(["value", "checked", "selected", "disabled", "hidden", "open", "srcObject", "indeterminate"]);
const SVG = "http://www.w3.org/2000/svg";

/**
 * @typedef {any} Child a Node, text, number, or an array of them; null, undefined and false are left out
 * @typedef {Record<string, any>} Props attributes; `class`, `dataset` and `style` (objects), `onclick` and the like
 */

/**
 * An HTML element: `h("p", {class: "note", onclick: act}, "text", h("b", null, "more"))`.
 *
 * A property that is null, undefined or false is left out; true gives an attribute without a value.
 * @param {string} tag
 * @param {Props | null} [props]
 * @param {...Child} children
 * @returns {any} the element
 */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/**
 * The same for SVG.
 * @param {string} tag
 * @param {Props | null} [props]
 * @param {...Child} children
 * @returns {any} the element
 */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/**
 * Put these children in the place of those that are there.
 * @param {Element} parent
 * @param {...Child} children
 */
export function replace(parent, ...children) {
  parent.replaceChildren(...flatten(children));
  return parent;
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined) continue;
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "style") setStyle(element, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2).toLowerCase(), value);
    else if (PROPERTIES.has(name) && name in element) element[name] = value;
    else if (value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...flatten(children));
  // A select takes its value only once it has its options.
  if (props && "value" in props && element.localName === "select") element.value = props.value;
  return element;
}

/** Through the object model, which the page's policy allows; a style attribute it does not. */
function setStyle(element, style) {
  for (const [name, value] of Object.entries(style)) {
    if (name.startsWith("--")) element.style.setProperty(name, String(value));
    else element.style[name] = value;
  }
}

function flatten(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

let count = 0;

/** An id that no other element has, to join a label and its field. */
export function uniqueId(prefix = "id") {
  count += 1;
  return `${prefix}-${count}`;
}
