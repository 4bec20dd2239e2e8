/** The table of models: their state and figures, and which of them the charts are about. */

import { showBytes, showNumber } from "../chart.js";
import { h, replace, svg } from "../dom.js";
import { readFigures, readPoints } from "./figures.js";
import { sumLevels } from "./history.js";
import { perSecond, seconds } from "./tiles.js";

const HEAD = ["Model", "State", "Requests/s", "p50", "p99", "Waiting", "Rows a batch", "Weights", "Requests over time"];
const WIDE = 120;
const HIGH = 28;

/**
 * @param {(model: string) => void} onChoose gets a name, or "" for all
 * @returns {{element: HTMLElement, update: (history: any, cards: any[], view: any) => void}}
 */
export function makeModels(onChoose) {
  const body = h("tbody");
  const head = h("tr", null, ...HEAD.map((name) => h("th", { scope: "col" }, name)));
  const element = h(
    "table",
    { class: "models-live" },
    h("caption", { class: "visually-hidden" }, "Models and their figures"),
    h("thead", null, head),
    body,
  );
  const lines = new Map();
  return {
    element,
    update(history, cards, view) {
      const known = [{ name: "" }, ...cards];
      for (const name of lines.keys()) if (!known.some((card) => card.name === name)) lines.delete(name);
      for (const card of known) {
        if (!lines.has(card.name)) lines.set(card.name, makeLine(card.name, onChoose));
        lines.get(card.name).update(history, card, view);
      }
      const wanted = known.map(({ name }) => lines.get(name).element);
      if (wanted.some((line, i) => body.children[i] !== line) || body.children.length !== wanted.length)
        replace(body, ...wanted);
    },
  };
}

/** A line stays the same element, so that the focus of the keyboard does. */
function makeLine(name, onChoose) {
  const choose = h("button", { type: "button", class: "plain", onclick: () => onChoose(name) }, name || "All models");
  const cells = HEAD.slice(1).map((title) => h("td", { dataset: { title } }));
  const element = h("tr", null, h("th", { scope: "row" }, choose), ...cells);
  return {
    element,
    update(history, card, view) {
      const figures = readFigures(history, history.last(Math.min(view.seconds, 60)), name);
      const isChosen = view.model === name;
      element.classList.toggle("chosen", isChosen);
      choose.setAttribute("aria-pressed", String(isChosen));
      const texts = [
        perSecond(figures.answered),
        seconds(figures.p50),
        seconds(figures.p99),
        figures.waiting === null ? "–" : showNumber(figures.waiting),
        figures.batchRows === null ? "–" : showNumber(Number(figures.batchRows.toPrecision(3))),
        figures.weights ? showBytes(figures.weights) : "–",
      ];
      put(cells[0], ...(name ? showState(card, history) : []));
      texts.forEach((text, i) => cells[i + 1].textContent === text || replace(cells[i + 1], text));
      replace(cells.at(-1), sparkline(readPoints(history, view.seconds, name), view));
    },
  };
}

function put(cell, ...children) {
  const text = children.map((child) => child.textContent ?? child).join("");
  if (cell.textContent !== text) replace(cell, ...children);
}

/** Ready, and in how many workers; or why not. */
function showState(card, history) {
  const interval = history.intervals.at(-1);
  const workers = sumLevels(interval, "sluice_workers", () => true) ?? 1;
  const ready = sumLevels(
    interval,
    "sluice_model_ready",
    ({ model, version }) => model === card.name && version === card.serving,
  );
  const facts = [card.serving && `version ${card.serving}`, (card.provider ?? "").replace("ExecutionProvider", "")];
  const note = facts.filter(Boolean).join(", ");
  if (card.on_demand) {
    return [h("span", { class: `badge ${card.ready ? "good" : "warn"}` }, "Loaded when asked for"), h("small", null, note)];
  }
  if (!card.ready) {
    const states = (card.versions ?? []).map(({ state }) => state);
    const word = states.some((state) => state === "LOADING") ? "Loading" : "Not ready";
    return [
      h("span", { class: "badge bad" }, word),
      h("small", null, card.reason ?? card.versions?.find((v) => v.reason)?.reason ?? ""),
    ];
  }
  if (ready !== null && ready < workers) {
    return [h("span", { class: "badge warn" }, `In ${ready} of ${workers} workers`), h("small", null, note)];
  }
  return [h("span", { class: "badge good" }, "Ready"), h("small", null, note)];
}

/** A small line without axes. The figures beside it say the same to screen readers. */
function sparkline(points, view) {
  const rates = points.map(({ figures }) => figures.answered ?? 0);
  const most = Math.max(1e-9, ...rates);
  const place = ({ at }, i) => {
    const x = WIDE + ((at - view.now) / view.shown) * WIDE;
    return `${i ? "L" : "M"}${x.toFixed(1)} ${(HIGH - 2 - (rates[i] / most) * (HIGH - 4)).toFixed(1)}`;
  };
  const path = points.map(place).join("");
  const size = { viewBox: `0 0 ${WIDE} ${HIGH}`, width: WIDE, height: HIGH };
  return svg(
    "svg",
    { class: "sparkline", "aria-hidden": "true", ...size },
    svg("path", { class: "chart-line tone-1", d: path }),
  );
}
