/**
 * Reads series as people have them: a CSV file with or without a header, one column, a list, or JSON.
 *
 * @typedef {object} Column
 * @property {string} name
 * @property {(number|null)[]} values null where there is no number
 * @property {{line: number, text: string}[]} gaps the cells without a number; lines from 1
 *
 * @typedef {object} Table
 * @property {Column[]} columns those that are numbers
 * @property {string[]|null} labels of the lines, such as dates
 * @property {string} labelName
 */

const DELIMITERS = ["\t", ";", ",", "|"];
const PROBE = 20;
const MOSTLY = 0.6;

/**
 * @param {string} text
 * @returns {Table}
 * @throws {Error} whose message says what was expected
 */
export function readTable(text) {
  const trimmed = text.replace(/^\uFEFF/, "").replace(/^\s*\n|\s*\n\s*$/g, "");
  if (!trimmed.trim()) throw new Error("Paste or drop a series: numbers, one on each line, or a CSV file.");
  if (trimmed.trim().startsWith("[")) return readList(trimmed);
  const lines = trimmed.split(/\r\n|\n|\r/);
  const delimiter = findDelimiter(lines);
  const rows = lines
    .map((line, i) => ({ line: i + 1, cells: splitLine(line, delimiter) }))
    .filter(({ cells }) => cells.some(Boolean));
  if (!rows.length) throw new Error("There are only separators, and no values between them.");
  if (rows.length === 1 && rows[0].cells.length > 1) return readLine(rows[0].cells, delimiter);
  return readRows(rows, delimiter);
}

function readList(text) {
  let values;
  try {
    values = JSON.parse(text);
  } catch (error) {
    throw new Error(`This begins like a JSON array and is none: ${error.message}`);
  }
  if (!Array.isArray(values) || !values.length || !values.every(Number.isFinite)) {
    throw new Error("A JSON series is an array of numbers, such as [1.5, 2, 2.5].");
  }
  return { columns: [{ name: "values", values, gaps: [] }], labels: null, labelName: "Position" };
}

/** All values on one line. */
function readLine(cells, delimiter) {
  const decimal = findDecimal([cells], delimiter);
  const values = cells.map((cell) => readNumber(cell, decimal));
  const at = values.indexOf(null);
  if (at >= 0) throw new Error(`Value ${at + 1} is “${cells[at].slice(0, 30)}”: a series has numbers only.`);
  return { columns: [{ name: "values", values, gaps: [] }], labels: null, labelName: "Position" };
}

function readRows(rows, delimiter) {
  const probe = rows.slice(0, PROBE);
  const decimal = findDecimal(
    probe.map(({ cells }) => cells),
    delimiter,
  );
  const width = Math.max(...probe.map(({ cells }) => cells.length));
  const parsed = Array.from({ length: width }, (_, at) =>
    rows.map(({ cells }) => readNumber(cells[at] ?? "", decimal)),
  );
  const isText = (at) => parsed[at][0] === null && Boolean(rows[0].cells[at]);
  const hasHeader = rows.length > 1 && parsed.some((values, at) => isText(at) && isMostly(rows, values, at, 1));
  const begin = hasHeader ? 1 : 0;
  const columns = parsed.map((values, at) => ({
    name: (hasHeader && rows[0].cells[at]) || (width > 1 ? `column ${at + 1}` : "values"),
    ...{ at, values: values.slice(begin), isNumeric: isMostly(rows, values, at, begin) },
  }));
  const label = findLabel(columns, hasHeader);
  const data = rows.slice(begin);
  const numeric = columns.filter((column) => column.isNumeric && column !== label);
  if (!numeric.length)
    throw new Error(`No column has numbers. The first line is “${rows[0].cells.join(delimiter).slice(0, 60)}”.`);
  return {
    columns: numeric.map(({ name, at, values }) => ({ name, values, gaps: findGaps(data, values, at) })),
    labels: label ? data.map(({ cells }) => cells[label.at] ?? "") : null,
    labelName: label && hasHeader ? label.name : "Position",
  };
}

function isMostly(rows, values, at, begin) {
  let filled = 0;
  let numbers = 0;
  for (let i = begin; i < rows.length; i += 1) {
    if (rows[i].cells[at]) filled += 1;
    if (values[i] !== null) numbers += 1;
  }
  return filled > 0 && numbers >= MOSTLY * filled;
}

function findGaps(data, values, at) {
  return data.flatMap(({ line, cells }, i) => (values[i] === null ? [{ line, text: cells[at] ?? "" }] : []));
}

/** The column that names the lines: texts such as dates, or whole numbers that rise by the same step, such as years. */
function findLabel(columns, hasHeader) {
  const [first] = columns;
  if (columns.length < 2) return null;
  if (!first.isNumeric) return first;
  const { values } = first;
  const step = values[1] - values[0];
  const rises =
    values.length > 2 &&
    values.every((value, i) => Number.isInteger(value) && (i === 0 || value - values[i - 1] === step));
  const isNamed = hasHeader && /^(year|date|time|timestamp|month|day|week|hour|index|id|no|nr|t|x)$/i.test(first.name);
  return (rises && step > 0) || isNamed ? first : null;
}

function findDelimiter(lines) {
  const probe = lines.slice(0, PROBE).filter((line) => line.trim());
  const counts = DELIMITERS.map((delimiter) => median(probe.map((line) => splitLine(line, delimiter).length)));
  const best = counts.indexOf(Math.max(...counts));
  if (counts[best] > 1) return DELIMITERS[best];
  return probe.every((line) => /^\S+(\s+\S+)+$/.test(line.trim())) ? " " : ",";
}

function median(numbers) {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
}

/** A comma is a decimal sign where it separates nothing and no point does. */
function findDecimal(rows, delimiter) {
  const cells = rows.flat();
  return delimiter !== "," &&
    cells.some((cell) => /^-?[\d.]*\d,\d+$/.test(cell)) &&
    !cells.some((cell) => /^-?\d+\.\d{1,2}$/.test(cell))
    ? ","
    : ".";
}

function readNumber(cell, decimal) {
  if (decimal === "." && /^-?\d+(\.\d+)?$/.test(cell)) return Number(cell);
  let text = cell.replace(/[\s\u00A0\u202F_']/g, "").replace("−", "-");
  text = decimal === "," ? text.replaceAll(".", "").replace(",", ".") : text.replace(/,(?=\d{3}(\D|$))/g, "");
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return null;
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

/** The cells of a line, with quotes as RFC 4180 has them, within the line. */
function splitLine(line, delimiter) {
  if (delimiter === " ") return line.trim().split(/\s+/);
  if (!line.includes('"')) return line.split(delimiter).map((cell) => cell.trim());
  const cells = [];
  let cell = "";
  let isQuoted = false;
  for (let i = 0; i < line.length; i += 1) {
    const sign = line[i];
    if (isQuoted) {
      if (sign === '"' && line[i + 1] === '"') {
        cell += '"';
        i += 1;
      } else if (sign === '"') isQuoted = false;
      else cell += sign;
    } else if (sign === '"' && !cell.trim()) {
      cell = "";
      isQuoted = true;
    } else if (sign === delimiter) {
      cells.push(cell.trim());
      cell = "";
    } else cell += sign;
  }
  return [...cells, cell.trim()];
}

/**
 * The values with gaps filled by a straight line between their neighbours; gaps at the ends are left out.
 * @param {(number|null)[]} values
 * @returns {{values: number[], first: number}} `first` is the position of the first that stays
 */
export function fillGaps(values) {
  const first = values.findIndex((value) => value !== null);
  const last = values.findLastIndex((value) => value !== null);
  const filled = values.slice(first, last + 1);
  for (let i = 0; i < filled.length; i += 1) {
    if (filled[i] !== null) continue;
    let end = i;
    while (filled[end] === null) end += 1;
    const step = (filled[end] - filled[i - 1]) / (end - i + 1);
    for (let at = i; at < end; at += 1) filled[at] = filled[at - 1] + step;
  }
  return { values: filled, first };
}
