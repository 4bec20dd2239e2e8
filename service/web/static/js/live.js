/** The page /live: what the server does now and did over the last minutes. It reads /metrics and /models. */

import { get, getModels } from "./api.js";
import { h, replace } from "./dom.js";
import { readFigures } from "./live/figures.js";
import { History } from "./live/history.js";
import { makeModels } from "./live/models.js";
import { makePanels } from "./live/panels.js";
import { poll } from "./live/poller.js";
import { makeTiles } from "./live/tiles.js";

const EVERY_MS = 2000;
const CARDS_EVERY_S = 10;
const LONGEST_S = 15 * 60;
const LATELY_S = 10;
const WINDOWS = [
  [60, "1 minute"],
  [300, "5 minutes"],
  [900, "15 minutes"],
];

class LivePage {
  constructor(parent) {
    this.history = new History(LONGEST_S);
    this.cards = [];
    this.cardsAt = -Infinity;
    this.away = null;
    this.view = { seconds: 300, model: readHash() };
    this.status = h("p", { class: "live-status" }, "Reading the first figures…");
    this.alert = h("div", { role: "alert" });
    this.tiles = makeTiles();
    this.panels = makePanels();
    this.models = makeModels((model) => this.choose(model));
    this.heading = h("h2", { id: "figures", class: "live-heading" });
    this.pause = h("button", { type: "button", class: "small", onclick: () => this.toggle() }, "Pause");
    replace(
      parent,
      h("h1", { class: "visually-hidden" }, "Live"),
      this.bar(),
      this.alert,
      this.heading,
      this.tiles.element,
      this.panels.element,
      h("h2", null, "Models"),
      h("p", { class: "muted" }, "Choose a model, and the figures above are those of it alone."),
      h(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of models" },
        this.models.element,
      ),
    );
    addEventListener("hashchange", () => this.choose(readHash()));
    this.poller = poll({
      every_ms: EVERY_MS,
      ask: (signal) => this.read(signal),
      onFailure: (error) => this.fail(error),
    });
  }

  bar() {
    const choose = (event) => {
      this.view.seconds = Number(event.target.value);
      this.draw();
    };
    const options = WINDOWS.map(([seconds, text]) =>
      h("option", { value: seconds, selected: seconds === this.view.seconds }, text),
    );
    const last = h(
      "label",
      { class: "inline" },
      "Last ",
      h("select", { onchange: choose, "aria-label": "How far back" }, ...options),
    );
    return h("div", { class: "live-bar" }, this.status, h("div", { class: "row" }, last, this.pause));
  }

  async read(signal) {
    const { blob } = await get("metrics", { accept: "text/plain", signal });
    this.history.add(performance.now() / 1000, await blob.text());
    if (performance.now() / 1000 - this.cardsAt > CARDS_EVERY_S) {
      this.cards = await getModels(signal);
      this.cardsAt = performance.now() / 1000;
    }
    if (this.away) this.cardsAt = -Infinity; // it may serve other models now
    this.away = null;
    this.say();
    this.draw();
  }

  fail(error) {
    this.history.miss();
    this.away ??= { since: new Date(), why: "" };
    const reasons = { 0: "Is it running, and can this computer reach it?" };
    this.away.why =
      error.name === "TimeoutError" ? "It took more than ten seconds." : (reasons[error.status] ?? error.message);
    this.say();
    this.draw();
  }

  /** The state of the connection. An alert is said at once, so it changes only when the state does. */
  say() {
    const now = performance.now() / 1000;
    const seconds = Math.round(now - (this.history.intervals[0]?.to ?? now));
    const text = this.away
      ? "No answer."
      : `Connected. ${this.poller?.isRunning === false ? "Paused." : `Read every ${EVERY_MS / 1000} s.`}`;
    const reach =
      this.history.intervals.length < 2
        ? ""
        : ` The figures go back ${seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`}.`;
    replace(
      this.status,
      h("span", { class: `dot ${this.away ? "bad" : "good"}`, "aria-hidden": "true" }),
      text + reach,
    );
    const alarm = this.away
      ? `The server has been away since ${this.away.since.toLocaleTimeString()}. ${this.away.why} This page goes on asking.`
      : this.history.isMixed
        ? "The figures go back and forth: several servers answer at this address. Open the page of each of them."
        : "";
    if (this.alarm === alarm) return;
    this.alarm = alarm;
    replace(this.alert, alarm ? h("div", { class: "error" }, h("p", null, alarm)) : "");
  }

  choose(model) {
    if (model === this.view.model) return;
    this.view.model = model;
    const hash = model ? `#model=${encodeURIComponent(model)}` : location.pathname + location.search;
    if (readHash() !== model) history.replaceState(null, "", hash);
    this.draw();
  }

  toggle() {
    if (this.poller.isRunning) this.poller.stop();
    else this.poller.resume();
    replace(this.pause, this.poller.isRunning ? "Pause" : "Go on");
    this.say();
  }

  draw() {
    const now = this.poller?.isRunning === false ? (this.history.intervals.at(-1)?.to ?? 0) : performance.now() / 1000;
    const known = now - (this.history.last(this.view.seconds)[0]?.to ?? now);
    // Whole minutes that hold what is known: a page that was just opened knows little.
    const shown = Math.min(this.view.seconds, Math.max(60, Math.ceil(known / 60) * 60));
    const view = { ...this.view, now, shown };
    const point = this.history.intervals.length ? this.lastPoint() : undefined;
    const lately = this.away ? [] : this.history.last(LATELY_S);
    replace(this.heading, this.view.model || "All models");
    this.tiles.update(readFigures(this.history, lately, this.view.model), this.away ? undefined : point);
    this.panels.update(this.history, view);
    this.models.update(this.history, this.cards, view);
  }

  lastPoint() {
    const level = (name) =>
      this.history.intervals
        .at(-1)
        .levels.get(name)
        ?.reduce((sum, { values }) => sum + values[0], 0);
    return { memory: level("sluice_worker_memory_bytes"), workers: level("sluice_workers") };
  }
}

function readHash() {
  return new URLSearchParams(location.hash.slice(1)).get("model") ?? "";
}

new LivePage(document.querySelector("main"));
