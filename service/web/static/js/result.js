/**
 * What stands below each answer: where the time went, who shared the batch, and programs that do the same.
 *
 * @typedef {import("./api.js").Answer} Answer
 * @typedef {import("./api.js").AskedRequest} AskedRequest
 */

import { programsOf } from "./code.js";
import { h, replace } from "./dom.js";
import { duration, plural } from "./format.js";
import { tabs } from "./tabs.js";

/**
 * @param {HTMLElement} parent is filled anew
 * @param {{request?: AskedRequest, answer?: Answer}} facts `request` is what the answer says was sent, if left out.
 *   The answer of a stream has only its times. Without one only the programs are shown
 */
export function showAnswer(parent, { request, answer }) {
  const sent = request ?? answer.request;
  replace(
    parent,
    h(
      "section",
      { class: "about-answer", "aria-label": "About this answer" },
      answer ? describeTime(answer) : null,
      sent.body && typeof sent.body === "object" && !(sent.body instanceof Blob) ? showPrograms(sent) : null,
      answer?.json ? showJson(answer.json) : null,
    ),
  );
}

/**
 * The sentence of what went wrong, which screen readers say at once.
 * @param {HTMLElement} parent is filled anew
 * @param {Error & {requestId?: string}} error
 */
export function showError(parent, error) {
  const requestId = error.requestId ? h("small", null, `Request ${error.requestId}`) : null;
  replace(parent, h("div", { class: "error", role: "alert" }, h("p", null, sentence(error.message)), requestId));
}

function sentence(text) {
  const trimmed = String(text || "Something went wrong.").trim();
  return trimmed[0].toUpperCase() + trimmed.slice(1) + (/[.!?…]$/.test(trimmed) ? "" : ".");
}

function describeTime({ timing, seconds, requestId }) {
  if (!timing) return h("p", { class: "muted" }, `Answered in ${duration(seconds)}.`);
  const other = Math.max(0, timing.totalMs - timing.queueMs - timing.batchMs - timing.computeMs);
  const way = Math.max(0, seconds * 1000 - timing.totalMs);
  const parts = [
    ["queue", "waiting in the queue", timing.queueMs],
    ["batch", "forming the batch", timing.batchMs],
    ["compute", "computing", timing.computeMs],
    ["other", "reading and writing", other],
    ["way", "on the way", way],
  ];
  const shared = timing.rows === null ? "" : `Its batch had ${plural(timing.rows, "row")}.`;
  return h(
    "div",
    { class: "time" },
    h("p", null, h("strong", null, `Answered in ${duration(seconds)}. `), shared),
    h(
      "div",
      { class: "time-bar", "aria-hidden": "true" },
      parts.map(([name, , ms]) => h("span", { class: `time-${name}`, style: { flexGrow: String(ms) } })),
    ),
    h(
      "ul",
      { class: "time-parts" },
      parts.map(([name, title, ms]) =>
        h("li", null, h("i", { class: `time-${name}`, "aria-hidden": "true" }), `${duration(ms / 1000)} ${title}`),
      ),
    ),
    requestId ? h("p", { class: "muted small" }, `Request ${requestId}`) : null,
  );
}

function showPrograms(request) {
  const entries = programsOf(request).map(({ name, code, shown }) => ({
    title: name,
    show: (panel) => panel.append(codeBlock(code, shown)),
  }));
  return h("div", { class: "programs" }, h("h3", null, "The same from a program"), tabs("Language", entries).element);
}

/**
 * Source code with a button that copies it in full. `shown` may be shorter.
 * @param {string} code @param {string} [shown]
 */
export function codeBlock(code, shown = code) {
  const said = h("span", { class: "copied", role: "status" });
  const copy = h("button", { type: "button", class: "small", dataset: { code }, onclick: () => put(code, said) }, "Copy");
  const note = shown === code ? null : h("p", { class: "muted small" }, "Long texts are cut here. Copy gives all.");
  return h("div", { class: "code" }, h("div", { class: "code-bar" }, said, copy), h("pre", { tabindex: "0" }, h("code", null, shown)), note);
}

async function put(text, said) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    putAsBefore(text); // over plain HTTP a browser has no clipboard
  }
  replace(said, "Copied");
  setTimeout(() => replace(said), 2000);
}

function putAsBefore(text) {
  const area = h("textarea", { class: "visually-hidden", value: text });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function showJson(json) {
  const text = JSON.stringify(json, null, 1);
  const shown = text.length > 4000 ? `${text.slice(0, 4000)}\n…` : text;
  return h("details", { class: "raw" }, h("summary", null, "The answer as JSON"), codeBlock(text, shown));
}
