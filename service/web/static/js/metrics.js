/**
 * Reads the server's metrics, which are in Prometheus' text format.
 *
 * @typedef {{labels: Record<string, string>, value: number}} Sample
 * @typedef {Map<string, Sample[]>} Metrics name of a series, such as "sluice_requests_total", to its samples
 */

import { get } from "./api.js";

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** @param {AbortSignal} [signal] @returns {Promise<Metrics>} */
export async function getMetrics(signal) {
  const { blob } = await get("metrics", { accept: "text/plain", signal });
  return readMetrics(await blob.text());
}

/** @param {string} text @returns {Metrics} */
export function readMetrics(text) {
  const metrics = new Map();
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : LINE.exec(line);
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of (found[2] ?? "").matchAll(LABEL)) {
      labels[name] = value.replace(/\\(.)/g, (_, sign) => (sign === "n" ? "\n" : sign));
    }
    if (!metrics.has(found[1])) metrics.set(found[1], []);
    metrics.get(found[1]).push({ labels, value: Number(found[3].replace("Inf", "Infinity")) });
  }
  return metrics;
}

/**
 * The sum over all series of a name whose labels are these.
 * @param {Metrics} metrics @param {string} name @param {Record<string, string>} [labels]
 */
export function sumOf(metrics, name, labels = {}) {
  return select(metrics, name, labels).reduce((sum, sample) => sum + sample.value, 0);
}

/**
 * A histogram's counts up to each bound, summed over all series with these labels.
 * @param {Metrics} metrics @param {string} name without "_bucket" @param {Record<string, string>} [labels]
 * @returns {Map<number, number>} upper bound to count, with Infinity last
 */
export function bucketsOf(metrics, name, labels = {}) {
  const counts = new Map();
  for (const { labels: own, value } of select(metrics, `${name}_bucket`, labels)) {
    const bound = own.le === "+Inf" ? Infinity : Number(own.le);
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return new Map([...counts].sort(([a], [b]) => a - b));
}

/**
 * A quantile, by linear interpolation within its bucket.
 * @param {Map<number, number>} buckets now @param {number} share such as 0.99
 * @returns {number | null} null where nothing was counted
 */
export function quantileOf(buckets, share) {
  const counts = [...buckets];
  const total = counts.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  let [lower, below] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= share * total) {
      if (bound === Infinity) return lower;
      return lower + ((bound - lower) * (share * total - below)) / Math.max(1e-12, count - below);
    }
    [lower, below] = [bound, count];
  }
  return lower;
}

function select(metrics, name, labels) {
  const wanted = Object.entries(labels);
  return (metrics.get(name) ?? []).filter(({ labels: own }) => wanted.every(([key, value]) => own[key] === value));
}
