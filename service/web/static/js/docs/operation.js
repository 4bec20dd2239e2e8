/** An operation as a whole: what it does, the form to try it, what it takes, and what it answers. */

import { h } from "../dom.js";
import { bodyKinds } from "./call.js";
import { shortType, showSchema, withCode } from "./schema.js";
import { makeTryout } from "./tryout.js";

const PLACES = { path: "in the path", query: "in the query", header: "as a header" };

const TITLES = { "application/json": "JSON", "text/event-stream": "Events (text/event-stream)" };

/**
 * @param {import("./document.js").ApiDocument} document
 * @param {import("./document.js").Operation} operation
 * @param {Parameters<typeof makeTryout>[2]} options
 * @returns {HTMLElement}
 */
export function showOperation(document, operation, options) {
  const { method, path, pathOfVersion, summary, description } = operation;
  const also = pathOfVersion
    ? h("p", { class: "muted" }, "For one version: ", h("code", null, breakable(pathOfVersion)))
    : null;
  return h(
    "article",
    { class: "operation", dataset: { operation: operation.id } },
    h("h2", { tabindex: "-1" }, summary),
    h(
      "p",
      { class: "call" },
      h("span", { class: `method ${method.toLowerCase()}` }, method),
      h("code", null, breakable(path)),
    ),
    also,
    description ? h("p", null, withCode(description)) : null,
    makeTryout(document, operation, options),
    showParameters(document, operation),
    showBodies(document, operation),
    showAnswers(document, operation),
    showErrors(operation),
  );
}

/** A path that may be broken after each slash. */
export function breakable(path) {
  return path.split(/(?<=\/)/).flatMap((part) => [part, h("wbr")]);
}

function showParameters(document, operation) {
  const isTask = operation.group === "tasks";
  const shown = operation.parameters.filter(({ in: place }) => !isTask || place !== "query");
  if (!shown.length) return null;
  return h(
    "section",
    null,
    h("h3", null, "Parameters"),
    h(
      "ul",
      { class: "schema-fields" },
      shown.map((each) =>
        h(
          "li",
          null,
          h(
            "div",
            { class: "schema-line" },
            h("code", null, each.name),
            h("span", { class: "type" }, shortType(document, each.schema)),
            h(
              "span",
              { class: each.required ? "required" : "muted small" },
              `${each.required ? "required, " : ""}${PLACES[each.in] ?? each.in}`,
            ),
          ),
          each.description ? h("p", { class: "muted" }, withCode(each.description)) : null,
        ),
      ),
    ),
  );
}

function showBodies(document, operation) {
  const kinds = bodyKinds(operation);
  if (!kinds.length) return null;
  const json = operation.bodies["application/json"];
  const others = kinds
    .filter(({ kind }) => kind !== "json")
    .map(({ title, types }) => h("li", null, `${title}: `, h("code", null, types.join(", "))));
  const options = operation.parameters.some(({ in: place }) => place === "query");
  return h(
    "section",
    null,
    h("h3", null, "Request"),
    json ? [h("h4", null, "JSON"), showSchema(document, json.schema)] : null,
    others.length ? [h("h4", null, "Or"), h("ul", { class: "kinds" }, others)] : null,
    options && others.length
      ? h("p", { class: "muted" }, "Beside a file or a text the options go into the query, in a form into its fields.")
      : null,
  );
}

function showAnswers(document, { answers, answer, headers }) {
  const parts = Object.entries(answers).map(([type, { schema = {} }]) => {
    const inside =
      schema.type === "string" || !Object.keys(schema).some((key) => key !== "description")
        ? h("p", null, withCode(schema.description ?? shortType(document, schema)))
        : showSchema(document, schema);
    return [h("h4", null, TITLES[type] ?? type), inside];
  });
  const lines = Object.entries(headers).map(([name, { description }]) =>
    h("div", null, h("dt", null, h("code", null, name)), h("dd", null, description ?? "")),
  );
  return h(
    "section",
    null,
    h("h3", null, "Answer"),
    h("p", null, withCode(answer)),
    parts,
    lines.length ? [h("h4", null, "Headers"), h("dl", null, lines)] : null,
  );
}

function showErrors({ errors }) {
  if (!errors.length) return null;
  return h(
    "section",
    null,
    h("h3", null, "Errors"),
    h(
      "p",
      { class: "muted" },
      "Each has the reason as ",
      h("code", null, "error"),
      " and the ",
      h("code", null, "request_id"),
      " of the log.",
    ),
    h(
      "dl",
      { class: "statuses" },
      errors.map(({ status, description }) =>
        h("div", null, h("dt", null, h("code", null, status)), h("dd", null, description)),
      ),
    ),
  );
}
