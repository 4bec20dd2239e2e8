/** What the history says about one model, or about all of them. */

import { duration, findQuantile, sumIncreases, sumLevels } from "./history.js";

/** A point of a chart tells of so many seconds before it: single readings of two seconds jump. */
const SMOOTH_S = 10;

/**
 * @typedef {object} Figures
 * @property {number|null} answered requests a second with a status below 400
 * @property {number|null} failed the others
 * @property {number|null} p50 seconds
 * @property {number|null} p99
 * @property {number|null} waiting rows in the queue now
 * @property {number|null} batchRows the mean
 * @property {number|null} rowsPerSecond
 * @property {number|null} queue_s the mean wait of a request
 * @property {number|null} compute_s the mean run of a batch
 * @property {number|null} streams that are open now
 * @property {number|null} weights bytes of the files with the weights, in all workers
 */

/**
 * @param {import("./history.js").History} history
 * @param {import("./history.js").Interval[]} intervals
 * @param {string} model empty for all
 * @returns {Figures}
 */
export function readFigures(history, intervals, model) {
  const fits = model ? (labels) => labels.model === model : (labels) => Boolean(labels.model);
  const seconds = duration(intervals);
  const rate = (count) => (seconds > 0 ? count / seconds : null);
  const count = (within, more) =>
    sumIncreases(intervals, "sluice_requests_total", (labels) => within(labels) && more(labels))[0] ?? 0;
  const spread = (name) => sumIncreases(intervals, name, fits);
  const latency = spread("sluice_request_seconds");
  const rows = spread("sluice_batch_rows");
  const bounds = history.bounds.get("sluice_request_seconds") ?? [];
  return {
    answered: rate(count(fits, ({ status }) => Number(status) < 400)),
    failed: rate(count(model ? fits : () => true, ({ status }) => Number(status) >= 400)), // many refusals name no model
    p50: findQuantile(bounds, latency, 0.5),
    p99: findQuantile(bounds, latency, 0.99),
    waiting: sumLevels(intervals.at(-1), "sluice_queue_rows", fits),
    batchRows: mean(rows),
    rowsPerSecond: rate(rows.at(-1) ?? 0),
    queue_s: mean(spread("sluice_queue_seconds")),
    compute_s: mean(spread("sluice_compute_seconds")),
    streams: sumLevels(intervals.at(-1), "sluice_streams", fits),
    weights: sumLevels(intervals.at(-1), "sluice_model_weight_bytes", fits),
  };
}

/** The mean of a histogram: its sum, which is last, by its counts. */
function mean(values) {
  const count = values.slice(0, -1).reduce((sum, each) => sum + each, 0);
  return count > 0 ? values.at(-1) / count : null;
}

/**
 * How many batches had how many rows.
 * @returns {{name: string, value: number}[]} without empty ends
 */
export function readBatchSizes(history, intervals, model) {
  const bounds = history.bounds.get("sluice_batch_rows") ?? [];
  const counts = sumIncreases(intervals, "sluice_batch_rows", (labels) => !model || labels.model === model);
  const bars = bounds.map((bound, i) => ({ name: nameOfBucket(bounds, i), value: counts[i] ?? 0 }));
  const last = bars.findLastIndex(({ value }) => value > 0);
  return bars.slice(0, Math.max(last + 1, Math.min(4, bars.length)));
}

function nameOfBucket(bounds, i) {
  const low = i ? bounds[i - 1] + 1 : 1;
  if (!Number.isFinite(bounds[i])) return `${low}+`;
  return low === bounds[i] ? String(low) : `${low}–${bounds[i]}`;
}

/**
 * The figures at the end of each interval of a window, smoothed. They are kept, for an interval does not change.
 * @returns {{at: number, figures: Figures, workers: number|null, memory: number|null, gpu: number|null}[]}
 */
export function readPoints(history, seconds, model) {
  return history.last(seconds).map((interval) => {
    interval.points ??= new Map();
    if (!interval.points.has(model)) interval.points.set(model, readPoint(history, interval, model));
    return interval.points.get(model);
  });
}

function readPoint(history, interval, model) {
  const all = () => true;
  return {
    at: interval.to,
    isGap: interval.isGap,
    from: interval.from,
    figures: readFigures(history, history.last(SMOOTH_S, interval.to), model),
    workers: sumLevels(interval, "sluice_workers", all),
    memory: sumLevels(interval, "sluice_worker_memory_bytes", all),
    gpu: sumLevels(interval, "sluice_device_memory_bytes", ({ kind }) => kind === "used"),
  };
}

/**
 * A column of points for a chart, with a gap where the server was away.
 * @param {ReturnType<typeof readPoints>} points
 * @param {(point: any) => number|null} read
 * @param {number} now seconds
 * @returns {{x: number[], values: (number|null)[]}} x in seconds before now, negative
 */
export function toColumn(points, read, now) {
  const x = [];
  const values = [];
  for (const point of points) {
    if (point.isGap && x.length) {
      x.push((point.from + point.at) / 2 - now);
      values.push(null);
    }
    x.push(point.at - now);
    values.push(read(point));
  }
  return { x, values };
}
