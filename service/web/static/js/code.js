/**
 * Programs that send the same request: curl, Python and JavaScript. They need nothing that has to be installed.
 *
 * @typedef {import("./api.js").AskedRequest} AskedRequest
 */

import { hasKey, PLACEHOLDER } from "./access.js";
import { address } from "./api.js";

const WIDTH = 88;
const LONGEST_SHOWN = 96;
const MOST_SHOWN = 128;
const LONGEST_ARGUMENT = 60_000; // a shell's single argument has at most 128 KiB

/**
 * @param {AskedRequest} request whose body is JSON
 * @returns {{name: string, code: string, shown: string}[]} `shown` has long texts, such as pictures, cut
 */
export function programsOf(request) {
  const cut = { ...request, body: shorten(request.body) };
  return Object.entries(WRITERS).map(([name, write]) => ({ name, code: write(request), shown: write(cut) }));
}

/** The same value with long texts cut, for people to read. */
function shorten(value) {
  if (typeof value === "string") return value.length > LONGEST_SHOWN ? `${value.slice(0, LONGEST_SHOWN - 24)}…` : value;
  if (Array.isArray(value)) {
    const long = value.length > MOST_SHOWN && value.every((each) => typeof each === "number");
    return long ? [...value.slice(0, MOST_SHOWN / 2), "…"] : value.map(shorten);
  }
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, shorten(each)]));
  }
  return value;
}

function isPicture(accept) {
  return accept.startsWith("image/") || accept.startsWith("audio/");
}

/** The headers of a program. It has a placeholder for the key. */
function headersFor(accept) {
  return {
    "Content-Type": "application/json",
    ...(isPicture(accept) ? { Accept: accept } : {}),
    ...(hasKey() ? { Authorization: PLACEHOLDER } : {}),
  };
}

function fileName(accept) {
  return accept.startsWith("audio/") ? "answer.wav" : "answer.png";
}

/** A text as one word of a shell. */
export function quote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function writeCurl({ route, body, accept }) {
  const json = JSON.stringify(body);
  const flags = [body?.stream ? "-sN" : "-s", quote(address(route)), "-H 'Content-Type: application/json'"];
  if (hasKey()) flags.push(`-H 'Authorization: ${PLACEHOLDER}'`);
  if (isPicture(accept)) flags.push(`-H 'Accept: ${accept}'`, `-o ${fileName(accept)}`);
  if (json.length > LONGEST_ARGUMENT) return `curl ${flags.join(" ")} --data-binary @- <<'END'\n${json}\nEND`;
  return `curl ${flags.join(" ")} \\\n  -d ${quote(json)}`;
}

function writePython({ route, body, accept }) {
  const headers = headersFor(accept);
  const lines = [
    ...["import json", "from urllib.request import Request, urlopen", ""],
    `body = ${literal(body, PYTHON)}`,
    `request = Request("${address(route)}", json.dumps(body).encode(), ${literal(headers, PYTHON)})`,
    "with urlopen(request) as answer:",
  ];
  if (isPicture(accept)) lines.push(`    open("${fileName(accept)}", "wb").write(answer.read())`);
  else if (body?.stream) lines.push("    for line in answer:", "        print(line.decode().rstrip())");
  else lines.push("    print(json.load(answer))");
  return lines.join("\n");
}

function writeJavaScript({ route, body, accept }) {
  const headers = headersFor(accept);
  const lines = [
    `const body = ${literal(body, JAVASCRIPT)};`,
    `const answer = await fetch("${address(route)}", {`,
    '  method: "POST",',
    `  headers: ${literal(headers, JAVASCRIPT)},`,
    "  body: JSON.stringify(body),",
    "});",
  ];
  if (isPicture(accept)) lines.push("const picture = await answer.blob();", "console.log(picture);");
  else if (body?.stream) {
    lines.push("for await (const part of answer.body.pipeThrough(new TextDecoderStream())) console.log(part);");
  } else lines.push("console.log(await answer.json());");
  return lines.join("\n");
}

const WRITERS = { curl: writeCurl, Python: writePython, JavaScript: writeJavaScript };
const PYTHON = { true: "True", false: "False", null: "None", key: (name) => JSON.stringify(name) };
const JAVASCRIPT = {
  ...{ true: "true", false: "false", null: "null" },
  key: (name) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name)),
};

/** A value as source code, on one line where it fits. */
function literal(value, words, indent = "") {
  if (value === null || typeof value === "boolean") return words[String(value)];
  if (value === undefined) return words.null;
  if (typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const deeper = `${indent}    `;
  const parts = Array.isArray(value)
    ? value.map((each) => literal(each, words, deeper))
    : Object.entries(value).map(([name, each]) => `${words.key(name)}: ${literal(each, words, deeper)}`);
  const line = `${open}${parts.join(", ")}${close}`;
  if (line.length + indent.length <= WIDTH && !line.includes("\n")) return line;
  if (parts.every((part) => part.length < 16)) return `${open}\n${deeper}${wrap(parts, deeper)}\n${indent}${close}`;
  return `${open}\n${parts.map((part) => `${deeper}${part},`).join("\n")}\n${indent}${close}`;
}

/** Short parts, such as numbers, several on a line. */
function wrap(parts, indent) {
  const lines = [""];
  for (const part of parts) {
    const line = lines.at(-1);
    if (line && line.length + part.length + 2 + indent.length > WIDTH) lines.push(`${part},`);
    else lines[lines.length - 1] = line ? `${line} ${part},` : `${part},`;
  }
  return lines.join(`\n${indent}`);
}
