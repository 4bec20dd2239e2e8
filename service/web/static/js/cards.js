/**
 * What people want to know of a model: on its card in the list, and above its workbench.
 *
 * @typedef {import("./api.js").Model} Model
 */

import { h, replace } from "./dom.js";
import { duration, number, percent, plural, showShape } from "./format.js";
import { bucketsOf, quantileOf, sumOf } from "./metrics.js";
import { TITLES } from "./tasks/index.js";

const ROWS = {
  proved: ["Rows are independent", "proved, so requests share batches", "good"],
  mixing: ["Rows influence each other", "so each request runs alone", "warn"],
  unknown: ["Rows are not proved independent", "so each request runs alone", "warn"],
};

/** @param {Model} model */
export function modelCard(model) {
  return h(
    "article",
    { class: "card model-card", dataset: { model: model.name, task: model.task ?? "" } },
    h("p", { class: "card-top" }, taskChip(model), state(model)),
    h("h2", null, h("a", { href: `#model=${encodeURIComponent(model.name)}` }, model.name)),
    h("p", { class: "description" }, model.description || reasonOf(model)),
    quality(model, 2),
    h("ul", { class: "facts" }, rows(model, false), provider(model), versions(model)),
    h("p", { class: "traffic muted small", dataset: { traffic: model.name } }),
  );
}

/** Everything about a model, for its own page. @param {Model} model */
export function modelHead(model) {
  return h(
    "div",
    { class: "model-head" },
    h("p", { class: "card-top" }, taskChip(model), state(model)),
    h("h1", { tabindex: "-1" }, model.name),
    h("p", { class: "description" }, model.description ?? ""),
    reasonOf(model) ? h("p", { class: model.on_demand ? "note" : "error" }, reasonOf(model)) : null,
    h("ul", { class: "facts" }, rows(model, true), provider(model), versions(model)),
    h("p", { class: "traffic muted small", dataset: { traffic: model.name } }),
    h("details", { class: "more" }, h("summary", null, "More about this model"), quality(model, Infinity), details(model)),
  );
}

/** Why it does not serve, why it serves otherwise than the store says, or why a newer version does not. */
function reasonOf(model) {
  const newer = model.versions.find(({ version, reason }) => reason && !(Number(version) < Number(model.serving ?? 0)));
  return model.reason ?? model.warnings?.join(" ") ?? newer?.reason ?? "";
}

function taskChip(model) {
  const title = TITLES[model.task] ?? "Model";
  return h("span", { class: "chip" }, title);
}

function state(model) {
  const kind = model.ready ? "good" : model.on_demand ? "warn" : "bad";
  const text = model.on_demand ? "Loaded when asked for" : model.ready ? "Ready" : "Not ready";
  return h("span", { class: `state ${kind}` }, text);
}

/** Each metric with its bar, which is the least that it had to reach before the version was published. */
function quality(model, most) {
  const { metrics, bar, data, rows: count } = model.quality ?? {};
  if (!metrics) return null;
  const names = [...Object.keys(bar ?? {}), ...Object.keys(metrics).filter((name) => !(name in (bar ?? {})))];
  const shown = names.slice(0, most === Infinity ? undefined : Math.min(most, Math.max(1, Object.keys(bar ?? {}).length)));
  const lines = shown.filter((name) => name in metrics).map((name) => metric(name, metrics[name], bar?.[name]));
  const note = most === Infinity ? h("p", { class: "muted small" }, `Measured on ${plural(count, "row")}: ${data}`) : null;
  return h("div", { class: "quality" }, h("ul", { class: "metrics" }, lines), note);
}

function metric(name, value, least) {
  const reached = least === undefined || value >= least;
  const shown = least !== undefined && value !== least && score(name, value) === score(name, least) ? value.toPrecision(4) : score(name, value);
  const note = least === undefined ? "" : `bar ${score(name, least)}`;
  return h(
    "li",
    { class: reached ? "" : "missed" },
    h("span", { class: "metric-name" }, readable(name)),
    h("strong", null, shown),
    note ? h("span", { class: "muted small" }, note, h("span", { class: "visually-hidden" }, reached ? ", reached" : ", not reached")) : null,
  );
}

function readable(name) {
  return name.replaceAll("_", " ");
}

/** Shares read better in per cent. */
function score(name, value) {
  return /accuracy|match|agreement|coverage|rate|accepts|rejects|precision|recall|iou/.test(name) ? percent(value) : number(value);
}

function rows(model, withReason) {
  const facts = model.batching;
  if (!facts) return null;
  const [title, consequence, kind] = ROWS[facts.rows] ?? [`Rows: ${facts.rows}`, "", "warn"];
  const text = withReason ? `${title}: ${facts.reason}. Bits: ${facts.bits}.` : `${title}, bits ${facts.bits}`;
  return h("li", { class: kind, title: `${consequence}; ${facts.reason}` }, text);
}

function provider(model) {
  if (!model.provider) return null;
  return h("li", null, `Runs on ${model.provider.replace("ExecutionProvider", "")}`);
}

function versions(model) {
  const none = model.on_demand ? "No version is loaded" : "No version serves";
  const serving = model.serving ? `Version ${model.serving} serves` : none;
  const others = model.versions.filter(({ version }) => version !== model.serving).length;
  const aliases = Object.entries(model.aliases).map(([alias, version]) => `${alias} is ${version}`);
  const trials = Object.entries(model.rollout ?? {}).filter(([, trial]) => trial).map(trialOf);
  return h("li", null, [serving, others ? plural(others, "other") : "", ...aliases, ...trials].filter(Boolean).join(", "));
}

/** A canary or a shadow, and how it goes. */
function trialOf([kind, { version, percent, state: is }]) {
  const notes = [percent === undefined ? "" : `${number(percent)} %`, is === "on trial" ? "" : is];
  return `${kind} is ${version} (${notes.filter(Boolean).join(", ")})`;
}

function details(model) {
  const facts = [
    ["Inputs", tensors(model.inputs)],
    ["Outputs", tensors(model.outputs)],
    ["Labels", model.labels?.join(", ")],
    ["Most rows of a batch", model.batching ? number(model.batching.max_rows) : null],
    ["Difference from the golden samples", model.golden_error === undefined ? null : number(model.golden_error)],
    ["Versions", model.versions.map(({ version, state: is, reason }) => `${version}: ${reason ?? is}`).join("; ")],
    ["Licence", model.licence],
  ];
  return h(
    "dl",
    null,
    facts.filter(([, text]) => text).map(([name, text]) => h("div", null, h("dt", null, name), h("dd", null, text))),
  );
}

function tensors(list) {
  return list?.map(({ name, datatype, shape }) => `${name}: ${datatype} ${showShape(shape)}`).join("; ");
}

/**
 * Requests a second and the 99th percentile on every card, from two readings of the metrics.
 * @param {Map<string, any>} now @param {Map<string, any> | null} before @param {number} elapsedS
 */
export function showTraffic(now, before, elapsedS) {
  /** @type {NodeListOf<HTMLElement>} */
  const places = document.querySelectorAll("[data-traffic]");
  for (const place of places) {
    const labels = { model: place.dataset.traffic };
    const count = sumOf(now, "sluice_request_seconds_count", labels);
    if (!count) {
      replace(place, "No requests yet");
      continue;
    }
    const since = before ? count - sumOf(before, "sluice_request_seconds_count", labels) : 0;
    const p99 = quantileOf(bucketsOf(now, "sluice_request_seconds", labels), 0.99);
    const rate = before ? `${number(since / elapsedS)} requests/s · ` : "";
    replace(place, `${rate}p99 ${duration(p99)} · ${plural(count, "request")} in all`);
  }
}
