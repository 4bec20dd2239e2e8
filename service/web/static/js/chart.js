/**
 * Charts in SVG that adapt to their width, with a cursor for pointer and keyboard and their values as a table.
 *
 * `lineChart(options)` and `barChart(options)` return `{element, update(options)}`. Colours are those of css/chart.css.
 */

export { barChart } from "./chart/bar.js";
export { lineChart } from "./chart/line.js";
export { showBytes, showNumber, showSeconds } from "./chart/scale.js";
