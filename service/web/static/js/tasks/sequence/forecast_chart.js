/** The chart of a forecast: the history, the forecast that goes on from it, and bands between quantiles. */

import { lineChart, showNumber } from "../../chart.js";
import { continueLabels } from "./labels.js";

const LEAST_SHOWN = 48;
const SHOWN_PER_STEP = 4;

/**
 * @typedef {object} Forecast
 * @property {number[]} history
 * @property {string[]|null} labels of the history
 * @property {string} name
 * @property {string} unit
 * @property {number[]} mean
 * @property {Record<string, number[]>} [quantiles]
 * @property {number} horizon how long it will be, while it still comes
 */

/**
 * @param {Forecast} forecast
 * @param {boolean} isWhole whether all of the history is shown
 * @returns {import("../../chart/line.js").LineOptions}
 */
export function describeForecast(forecast, isWhole) {
  const { history, labels, name, unit, mean, quantiles = {}, horizon } = forecast;
  const from = isWhole || !isCut(forecast) ? 0 : history.length - Math.max(LEAST_SHOWN, SHOWN_PER_STEP * horizon);
  const last = history.length - 1;
  const all = [
    ...(labels ?? history.map((_, i) => (i < last ? `−${last - i}` : "now"))),
    ...continueLabels(labels, horizon),
  ];
  const x = [0, ...mean.map((_, i) => 1 + i)]; // steps after the last value of the history
  const band = pairQuantiles(quantiles).map(([low, high]) => ({
    name: `${nameOfShare(high - low)} interval`,
    tone: 2,
    x,
    low: [history[last], ...quantiles[low]],
    high: [history[last], ...quantiles[high]],
  }));
  const past = { name: name || "history", tone: 1, x: range(from - last, 0), values: history.slice(from) };
  const future = { name: "forecast", tone: 2, x, values: [history[last], ...mean], marked: mean.length <= 40 };
  return {
    title: unit ? `${name || "Series"}, in ${unit}` : name || "Series",
    series: [past, ...(mean.length ? [future] : [])],
    ...{ band, divider: 0, height: 320, xRange: [from - last, Math.max(1, horizon)] },
    showX: (at) => all[Math.round(at) + last] ?? "",
    showY: showNumber,
    isWhole: true,
    xName: "Time",
  };
}

/** Whether a chart that is not whole leaves a part of the history out. */
export function isCut({ history, horizon }) {
  return history.length > Math.max(LEAST_SHOWN, SHOWN_PER_STEP * horizon);
}

export function makeForecastChart() {
  return lineChart({ title: "Series", series: [], height: 320 });
}

/** Quantiles that belong together, the widest pair first: the first and the last, the second and the last but one. */
function pairQuantiles(quantiles) {
  const names = Object.keys(quantiles).sort((a, b) => Number(a) - Number(b));
  const pairs = [];
  for (let i = 0; i < Math.floor(names.length / 2); i += 1) pairs.push([names[i], names[names.length - 1 - i]]);
  return pairs;
}

function nameOfShare(share) {
  return `${Number((share * 100).toFixed(1))} %`;
}

function range(first, last) {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** The forecast as CSV: a line for each step. @param {Forecast} forecast */
export function writeCsv({ labels, mean, quantiles = {} }) {
  const names = Object.keys(quantiles);
  const lines = continueLabels(labels, mean.length).map((label, i) =>
    [label, mean[i], ...names.map((name) => quantiles[name][i])].join(","),
  );
  return [["step", "mean", ...names.map((name) => `quantile ${name}`)].join(","), ...lines, ""].join("\n");
}
