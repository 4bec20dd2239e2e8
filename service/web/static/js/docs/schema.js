/** Shows schemas so that people can read them: a line for each field, and what is inside on demand. */

import { h } from "../dom.js";

const DEEPEST = 6;

/** The choices of a schema without null, which stands for "absent" here. */
function choicesOf(schema) {
  const choices = schema.anyOf ?? schema.oneOf;
  return choices ? choices.filter((choice) => choice.type !== "null") : [schema];
}

function nameOf(schema) {
  return schema.$ref?.split("/").at(-1);
}

/**
 * The type in a few words, such as "array of numbers" or "integer, at least 1".
 * @param {import("./document.js").ApiDocument} document
 * @param {any} schema
 * @returns {string}
 */
export function shortType(document, schema, depth = 0) {
  const choices = choicesOf(schema);
  if (choices.length > 1) {
    const names = [...new Set(choices.map((choice) => shortType(document, choice, depth + 1)))];
    return names.length > 4 && depth > 0 ? `one of ${names.length} forms` : names.join(" or ");
  }
  const [only] = choices;
  if (only.$ref) {
    const target = document.resolve(only);
    return target.type === "object"
      ? spaced(nameOf(only))
      : depth > 2
        ? spaced(nameOf(only))
        : shortOfTarget(document, only, target, depth);
  }
  if (only.const !== undefined) return JSON.stringify(only.const);
  if (only.enum) return only.enum.map((each) => JSON.stringify(each)).join(" or ");
  if (only.type === "array")
    return `array of ${only.items ? shortType(document, only.items, depth + 1) : "anything"}${countOf(only)}`;
  if (only.type === "object")
    return typeof only.additionalProperties === "object" && !only.properties ? "object by name" : "object";
  if (only.type === "string" && only.format === "binary") return "bytes";
  return `${{ string: "text", boolean: "true or false" }[only.type] ?? only.type ?? "anything"}${rangeOf(only)}`;
}

function shortOfTarget(document, only, target, depth) {
  const refersToItself = JSON.stringify(target).includes(only.$ref);
  return refersToItself ? spaced(nameOf(only)).toLowerCase() : shortType(document, target, depth + 1);
}

/** EncodedPicture -> encoded picture. */
function spaced(name) {
  return name.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
}

function countOf({ minItems, maxItems }) {
  if (minItems !== undefined && minItems === maxItems) return `, ${minItems} of them`;
  return minItems ? `, at least ${minItems}` : maxItems ? `, at most ${maxItems}` : "";
}

function rangeOf({ minimum, maximum, exclusiveMinimum, exclusiveMaximum, minLength, maxLength }) {
  const parts = [];
  if (minimum !== undefined) parts.push(`at least ${minimum}`);
  if (exclusiveMinimum !== undefined) parts.push(`above ${exclusiveMinimum}`);
  if (maximum <= Number.MAX_SAFE_INTEGER) parts.push(`at most ${maximum}`);
  if (exclusiveMaximum !== undefined) parts.push(`below ${exclusiveMaximum}`);
  if (minLength > 1 || maxLength !== undefined)
    parts.push(`${minLength ?? 0} to ${maxLength ?? "any number of"} characters`);
  return parts.length ? `, ${parts.join(", ")}` : "";
}

/**
 * The fields of a schema; for one that is no object, what it is.
 * @param {import("./document.js").ApiDocument} document
 * @param {any} schema
 * @returns {HTMLElement}
 */
export function showSchema(document, schema) {
  const inner = showInside(document, schema, 0, []);
  return inner ?? h("p", { class: "schema-type" }, describe(document, schema));
}

function describe(document, schema) {
  const text = schema.description ?? document.resolve(schema).description;
  return [
    h("span", { class: "type" }, shortType(document, schema)),
    text ? h("span", { class: "muted" }, ` ${text}`) : null,
  ];
}

/** What is inside an object, an array of objects or a union with objects; null for plain values. */
function showInside(document, schema, depth, above) {
  if (depth > DEEPEST) return null;
  const choices = choicesOf(schema);
  if (choices.length > 1) {
    const forms = choices.map((choice) => {
      const target = document.resolve(choice);
      const inside = above.includes(choice.$ref) ? null : showInside(document, choice, depth + 1, above);
      const says = target.description ?? "";
      const head = [
        h("span", { class: "type" }, shortType(document, choice)),
        says ? h("span", { class: "muted" }, ` ${says}`) : null,
      ];
      return h("li", null, inside ? h("details", null, h("summary", null, head), inside) : head);
    });
    const worth = choices.some((choice) => choice.$ref || choice.properties || choice.items?.$ref);
    return worth ? h("ul", { class: "schema-forms" }, forms) : null;
  }
  const [only] = choices;
  if (only.$ref) {
    return above.includes(only.$ref)
      ? null
      : showInside(document, document.resolve(only), depth, [...above, only.$ref]);
  }
  if (only.type === "array" && only.items) return showInside(document, only.items, depth + 1, above);
  if (only.properties) return showFields(document, only, depth, above);
  if (typeof only.additionalProperties === "object")
    return showInside(document, only.additionalProperties, depth + 1, above);
  return null;
}

function showFields(document, { properties, required = [] }, depth, above) {
  return h(
    "ul",
    { class: "schema-fields" },
    Object.entries(properties).map(([name, field]) => {
      const inside = showInside(document, field, depth + 1, above);
      const line = [
        h("code", null, name),
        h("span", { class: "type" }, shortType(document, field)),
        required.includes(name) ? h("span", { class: "required" }, "required") : showDefault(field),
      ];
      const text = field.description ?? document.resolve(field).description;
      const says = text ? h("p", { class: "muted" }, ...withCode(text)) : null;
      return h("li", null, h("div", { class: "schema-line" }, line), says, inside ? showMore(inside) : null);
    }),
  );
}

function showDefault(field) {
  const value = field.default;
  return value === undefined || value === null
    ? null
    : h("span", { class: "muted small" }, `default ${JSON.stringify(value)}`);
}

function showMore(inside) {
  return h("details", null, h("summary", { class: "small" }, "What is inside"), inside);
}

/** Text with `code` between backquotes. */
export function withCode(text) {
  return text.split("`").map((part, i) => (i % 2 ? h("code", null, part) : part));
}
