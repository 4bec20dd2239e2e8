/** Finds the first place where a text stops being JSON (RFC 8259), which browsers do not always tell. */

const SPACE = /[ \t\n\r]*/y;
const TOKEN = new RegExp(
  [
    "([[\\]{}:,])",
    "(true|false|null|-?(?:0|[1-9]\\d*)(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)",
    '("(?:[^"\\\\\\u0000-\\u001f]|\\\\(?:["\\\\/bfnrt]|u[\\da-fA-F]{4}))*")',
  ].join("|"),
  "y",
);

const OPEN = { "[": "a value or ]", "{": "a name or }" };
const VALUE = { ...OPEN, scalar: "done", text: "done" };

/** What may come, and what is wanted after it. A bracket that closes, and a value, lead back to what is around it. */
const AFTER = {
  "a value": VALUE,
  "a value or ]": { ...VALUE, "]": "done" },
  "a name or }": { text: "a colon", "}": "done" },
  "a name": { text: "a colon" },
  "a colon": { ":": "a value" },
  "a comma or ]": { ",": "a value", "]": "done" },
  "a comma or }": { ",": "a name", "}": "done" },
  "the end": {},
};

/**
 * @param {string} text that is no JSON
 * @returns {{at: number, expected: string}}
 */
export function findFault(text) {
  const around = ["the end"];
  let wants = "a value";
  let at = 0;
  for (;;) {
    at = read(SPACE, text, at).end;
    const { found, end } = read(TOKEN, text, at);
    const token = found && (found[1] ?? (found[2] === undefined ? "text" : "scalar"));
    const next = token && AFTER[wants][token];
    if (!next) return { at, expected: text[at] === '"' && !found ? "a text that ends on its line" : wants };
    if (token in OPEN) around.push(token === "[" ? "a comma or ]" : "a comma or }");
    if (token === "]" || token === "}") around.pop();
    wants = next === "done" ? around.at(-1) : next;
    at = end;
  }
}

function read(pattern, text, at) {
  pattern.lastIndex = at;
  const found = pattern.exec(text);
  return { found, end: pattern.lastIndex };
}
