/**
 * From what is in the form to a request, and to the curl command that sends the same.
 *
 * @typedef {object} Draft
 * @property {import("./document.js").Operation} operation
 * @property {Record<string, string>} values of parameters, by name; empty ones are left out
 * @property {"none"|"json"|"file"|"text"|"form"} kind of the body
 * @property {string} text the JSON, or the text
 * @property {File[]} files
 * @property {string} accept
 *
 * @typedef {object} Call
 * @property {string} method
 * @property {string} route with its query
 * @property {Record<string, string>} headers
 * @property {any} body undefined without one
 */

import { hasKey, PLACEHOLDER } from "../access.js";
import { address } from "../api.js";
import { quote } from "../code.js";

export const JSON_TYPE = "application/json";
const TEXT_TYPE = "text/plain";
export const FORM_TYPE = "multipart/form-data";

/**
 * The kinds of body that an operation takes.
 * @param {import("./document.js").Operation} operation
 * @returns {{kind: string, title: string, types: string[]}[]}
 */
export function bodyKinds({ bodies }) {
  const types = Object.keys(bodies);
  const files = types.filter((type) => ![JSON_TYPE, TEXT_TYPE, FORM_TYPE].includes(type));
  const kinds = [];
  if (types.includes(JSON_TYPE)) kinds.push({ kind: "json", title: "JSON", types: [JSON_TYPE] });
  if (files.length) kinds.push({ kind: "file", title: "A file", types: files });
  if (types.includes(TEXT_TYPE)) kinds.push({ kind: "text", title: "A text", types: [TEXT_TYPE] });
  if (types.includes(FORM_TYPE)) kinds.push({ kind: "form", title: "Several files", types: [FORM_TYPE] });
  return kinds;
}

/** Whether a parameter is sent with this kind of body: options go into the JSON or into the query, never into both. */
export function isSent(parameter, kind) {
  return parameter.in !== "query" || kind !== "json";
}

/** @param {Draft} draft @returns {Call} */
export function makeCall(draft) {
  const { operation, values, kind } = draft;
  const given = operation.parameters.filter(({ name }) => (values[name] ?? "") !== "");
  const version = operation.pathOfVersion && values.version ? operation.pathOfVersion : operation.path;
  const path = version.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(values[name] ?? ""));
  const query = given.filter((each) => each.in === "query" && isSent(each, kind) && kind !== "form");
  const search = query.map(({ name }) => `${encodeURIComponent(name)}=${encodeURIComponent(values[name])}`).join("&");
  const headers = { accept: draft.accept };
  for (const each of given) if (each.in === "header") headers[each.name.toLowerCase()] = values[each.name];
  const type = typeOf(draft);
  if (type) headers["content-type"] = type;
  return { method: operation.method, route: path + (search ? `?${search}` : ""), headers, body: bodyOf(draft) };
}

/** The browser writes that of a form itself, for it has the boundary. */
function typeOf({ kind, files }) {
  if (kind === "json") return JSON_TYPE;
  if (kind === "text") return TEXT_TYPE;
  return kind === "file" ? files[0]?.type || "application/octet-stream" : undefined;
}

function bodyOf(draft) {
  const { kind, text, files } = draft;
  if (kind === "json" || kind === "text") return text;
  if (kind === "file") return files[0];
  if (kind !== "form") return undefined;
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name);
  for (const [name, value] of formFields(draft)) form.append(name, value);
  return form;
}

/**
 * @param {Draft} draft
 * @returns {string} a command for sh
 */
export function writeCurl(draft) {
  const { method, route, headers } = makeCall(draft);
  const parts = [quote(address(route))];
  if (method !== "GET" && draft.kind === "none") parts.push(`-X ${method}`);
  if (hasKey()) parts.push(`-H ${quote(`Authorization: ${PLACEHOLDER}`)}`);
  for (const [name, value] of Object.entries(headers)) {
    if (name === "accept" && value === JSON_TYPE) continue;
    parts.push(`-H ${quote(`${capitalise(name)}: ${value}`)}`);
  }
  if (draft.kind === "json") parts.push(`-d ${quote(compact(draft.text))}`);
  if (draft.kind === "text") parts.push(`--data-raw ${quote(draft.text)}`);
  if (draft.kind === "file") parts.push(`--data-binary ${quote(`@${draft.files[0]?.name ?? "FILE"}`)}`);
  if (draft.kind === "form") {
    const files = draft.files.length ? draft.files.map(({ name }) => name) : ["FILE"];
    parts.push(...files.map((name) => `-F ${quote(`files=@${name}`)}`));
    for (const [name, value] of formFields(draft)) parts.push(`-F ${quote(`${name}=${value}`)}`);
  }
  if (/^(image|audio)\//.test(draft.accept))
    parts.push(`-o ${draft.accept.startsWith("audio") ? "answer.wav" : "answer.png"}`);
  return `curl ${streams(draft) ? "-N " : ""}${parts.join(" \\\n  ")}`;
}

/** content-type -> Content-Type. */
function capitalise(name) {
  return name.replace(/(^|-)[a-z]/g, (sign) => sign.toUpperCase());
}

/** The options that go into a form beside its files. */
function formFields({ operation, values }) {
  const names = operation.parameters.filter((each) => each.in === "query").map(({ name }) => name);
  return names.filter((name) => (values[name] ?? "") !== "").map((name) => [name, values[name]]);
}

function streams({ kind, text, values, operation }) {
  if (operation.id.includes("stream")) return true;
  return kind === "json" ? /"stream":\s*true/.test(text) : values.stream === "true";
}

function compact(text) {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text;
  }
}
