/** The charts of the page. */

import { barChart, lineChart, showBytes, showNumber, showSeconds } from "../chart.js";
import { h } from "../dom.js";
import { readBatchSizes, readPoints, toColumn } from "./figures.js";

const WHOLE = (value) => showNumber(value);

/** @returns {{element: HTMLElement, update: (history: any, view: {seconds: number, shown: number, model: string, now: number}) => void}} */
export function makePanels() {
  const empty = { title: "", series: [] };
  const charts = Object.fromEntries(
    ["rate", "latency", "queue", "batch", "memory"].map((name) => [name, lineChart(empty)]),
  );
  const sizes = barChart({ title: "", bars: [], standing: true });
  const order = [charts.rate, charts.latency, charts.queue, charts.batch, sizes, charts.memory];
  const element = h(
    "div",
    { class: "panels" },
    ...order.map((chart) => h("div", { class: "card panel" }, chart.element)),
  );
  return {
    element,
    update(history, view) {
      const points = readPoints(history, view.seconds, view.model);
      const column = (read) => toColumn(points, read, view.now);
      const axis = { ...timeAxis(view.shown), height: 200 };
      for (const [name, options] of Object.entries(describeCharts(column, points)))
        charts[name].update({ ...axis, ...options });
      const bars = readBatchSizes(history, history.last(view.seconds), view.model);
      const names = { nameOfBars: "Rows", nameOfValues: "Batches", show: WHOLE };
      sizes.update({ title: "Batches by their rows", bars, standing: true, height: 200, ...names });
    },
  };
}

function describeCharts(column, points) {
  const of = (read) => column(({ figures }) => read(figures));
  const line = (name, read, more = {}) => ({ name, ...of(read), ...more });
  const low = of(({ p50 }) => p50);
  const high = of(({ p99 }) => p99);
  const hasGpu = points.some(({ gpu }) => gpu !== null);
  const gpu = hasGpu ? [{ name: "GPU", ...column((point) => point.gpu), dashed: true }] : [];
  return {
    rate: {
      title: "Requests a second",
      series: [line("answered", ({ answered }) => answered), line("failed", ({ failed }) => failed, { dashed: true })],
      ...{ least: 0, largest: 1 },
    },
    latency: {
      title: "Latency",
      series: [
        { name: "p50", ...low },
        { name: "p99", ...high, dashed: true },
      ],
      band: { name: "between them", isPlain: true, x: low.x, low: low.values, high: high.values },
      ...{ least: 0, largest: 0.001, showY: showSeconds },
    },
    queue: { title: "Rows that wait", series: [line("waiting", ({ waiting }) => waiting)], least: 0, largest: 4 },
    batch: {
      title: "Rows of a batch, on average",
      series: [line("rows", ({ batchRows }) => batchRows)],
      least: 0,
      largest: 2,
    },
    memory: {
      title: "Memory",
      series: [{ name: "workers", ...column(({ memory }) => memory) }, ...gpu],
      ...{ least: 0, largest: 2 ** 20, showY: showBytes, unit: 1024 },
    },
  };
}

/** From so many seconds ago until now. */
function timeAxis(seconds) {
  const step = seconds <= 60 ? 15 : seconds <= 300 ? 60 : seconds <= 600 ? 120 : 180;
  const ticks = [];
  for (let ago = seconds; ago >= 0; ago -= step) ticks.push({ at: -ago, text: showAgo(-ago) });
  return { xRange: [-seconds, 0], xTicks: ticks, showX: showAgo, xName: "Time" };
}

/** @param {number} x seconds, negative */
function showAgo(x) {
  const ago = Math.round(-x);
  if (ago <= 0) return "now";
  return ago % 60 === 0 ? `−${ago / 60} min` : ago < 60 ? `−${ago} s` : `−${Math.floor(ago / 60)} min ${ago % 60} s`;
}
