/** JSON as people read it: short values on one line, numbers side by side, long texts cut. */

import { findFault } from "./json_fault.js";

const WIDTH = 76;
const LONGEST = 120;
const LONGEST_SENTENCE = 1000;

/**
 * @param {any} value
 * @param {{cuts?: boolean}} [options] whether long texts, such as pictures, are cut
 * @returns {string}
 */
export function formatJson(value, { cuts = false } = {}) {
  return write(value, "", cuts);
}

function write(value, indent, cuts) {
  const line = writeOnLine(value, cuts, WIDTH - indent.length);
  if (line !== null) return line;
  const deeper = `${indent}  `;
  if (Array.isArray(value)) {
    const parts = value.every((each) => typeof each === "number")
      ? fill(value, deeper)
      : value.map((each) => write(each, deeper, cuts));
    return `[\n${parts.map((part) => deeper + part).join(",\n")}\n${indent}]`;
  }
  const fields = Object.entries(value).map(
    ([name, each]) => `${deeper}${JSON.stringify(name)}: ${write(each, deeper, cuts)}`,
  );
  return `{\n${fields.join(",\n")}\n${indent}}`;
}

/** On one line; null if that is too long. */
function writeOnLine(value, cuts, width) {
  if (typeof value === "string") return JSON.stringify(cuts ? cut(value) : value);
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  let text = Array.isArray(value) ? "[" : "{";
  let isFirst = true;
  for (const [name, each] of Object.entries(value)) {
    const part = writeOnLine(each, cuts, width - text.length);
    if (part === null) return null;
    text += `${isFirst ? "" : ", "}${Array.isArray(value) ? "" : `${JSON.stringify(name)}: `}${part}`;
    isFirst = false;
    if (text.length > width) return null;
  }
  return text + (Array.isArray(value) ? "]" : "}");
}

/** Numbers in lines of the width. */
function fill(numbers, indent) {
  const lines = [""];
  for (const number of numbers) {
    const text = String(number);
    const last = lines.at(-1);
    if (last && indent.length + last.length + text.length > WIDTH) lines.push(text);
    else lines[lines.length - 1] = last ? `${last}, ${text}` : text;
  }
  return lines;
}

/** A sentence, such as that of an error, stays whole unless it is very long. */
function cut(text) {
  const longest = text.slice(0, LONGEST).includes(" ") ? LONGEST_SENTENCE : LONGEST;
  return text.length > longest ? `${text.slice(0, 40)}… (${text.length.toLocaleString("en")} characters)` : text;
}

/**
 * Where a text is no JSON, for people.
 * @param {string} text
 * @returns {{value: any} | {fault: string}}
 */
export function parseJson(text) {
  try {
    return { value: JSON.parse(text) };
  } catch {
    const { at, expected } = findFault(text);
    const before = text.slice(0, at).split("\n");
    const got = at < text.length ? JSON.stringify(text[at]) : "the end";
    return {
      fault: `This is not JSON: line ${before.length}, column ${before.at(-1).length + 1}: expected ${expected}, got ${got}.`,
    };
  }
}

/**
 * The pictures and sounds in a value, with the way to each.
 * @param {any} value
 * @param {number} [most]
 * @returns {{path: string, kind: "image"|"sound", base64: string}[]}
 */
export function findMedia(value, most = 60) {
  const found = [];
  const walk = (each, path) => {
    if (found.length >= most || each === null || typeof each !== "object") return;
    for (const [name, inner] of Object.entries(each)) {
      const way = Array.isArray(each) ? `${path}[${name}]` : path ? `${path}.${name}` : name;
      if ((name === "image" || name === "sound") && typeof inner === "string" && inner.length > 40) {
        found.push({ path: way, kind: name, base64: inner });
      } else walk(inner, way);
    }
  };
  walk(value, "");
  return found.slice(0, most);
}
