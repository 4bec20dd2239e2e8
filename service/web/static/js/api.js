/**
 * Asks the server that served this page. All addresses are relative to the page, so a prefix of a proxy stays.
 *
 * @typedef {{name: string, ready: boolean, on_demand?: boolean, serving: string | null, aliases: Record<string, string>,
 *   versions: {version: string, state: string, reason?: string}[], reason?: string, warnings?: string[], task?: string,
 *   tasks?: string[], description?: string, details?: Record<string, any>, labels?: string[], inputs?: Tensor[], outputs?: Tensor[],
 *   quality?: any, parity?: any, licence?: string, provider?: string, batching?: any, pipeline?: any, rollout?: any}} Model
 *   the card of a model. `tasks` are the routes that it answers; `details` has what its manifest says about pictures
 *   (`image`), tables (`table`), series (`forecast`), sounds (`sound`), texts (`tokens`, `text`) and outputs
 * @typedef {{name: string, datatype: string, shape: number[]}} Tensor
 * @typedef {{queueMs: number, batchMs: number, computeMs: number, totalMs: number, rows: number | null}} Timing
 *   where the server's time went; `rows` are those that shared the batch
 * @typedef {{route: string, body: any, accept: string}} AskedRequest what was sent, with the query in the route
 * @typedef {{status: number, json: any, blob: Blob | null, timing: Timing | null, requestId: string,
 *   seconds: number, request: AskedRequest}} Answer
 *   `json` if the answer is JSON, otherwise `blob`; `seconds` as the browser measured them
 * @typedef {{task: string, title: string, body: any}} Example a request that the model answers
 * @typedef {{accept?: string, signal?: AbortSignal, query?: Record<string, any>, contentType?: string,
 *   method?: string}} AskOptions
 */

import { keyHeaders, noteStatus } from "./access.js";
/** A comment in the last event of a stream: the header was sent before the times were known. */
const TIMING = ": server-timing:";

/** What the server refused, in its own sentence. `status` is 0 where no answer came. */
class ServerError extends Error {
  /** @param {number} status @param {string} message @param {string} requestId */
  constructor(status, message, requestId = "") {
    super(message);
    this.name = "ServerError";
    this.status = status;
    this.requestId = requestId;
  }
}

/**
 * The address of a route of this server: "classify" or "/classify".
 * @param {string} route @param {Record<string, any>} [query]
 */
export function address(route, query) {
  const url = new URL(route.replace(/^\/+/, ""), document.baseURI);
  url.hash = "";
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, String(value));
  }
  return url.href;
}

/** @param {AbortSignal} [signal] @returns {Promise<Model[]>} the cards of all models */
export async function getModels(signal) {
  return (await get("models", { signal })).json.models;
}

/**
 * Requests that a model answers: those of the documentation, then its golden samples.
 * @param {string} name of a model
 * @param {string} [task] only those of this task
 * @param {AbortSignal} [signal]
 * @returns {Promise<Example[]>}
 */
export async function getExamples(name, task, signal) {
  const { json } = await get(`v2/models/${encodeURIComponent(name)}/example`, { signal });
  return json.examples.filter((example) => !task || example.task === task);
}

/** @param {string} route @param {AskOptions} [options] @returns {Promise<Answer>} */
export function get(route, options) {
  return ask(route, undefined, { method: "GET", ...options });
}

/**
 * Send a request. An object becomes JSON; a Blob, FormData or string is sent as it is.
 * @param {string} route
 * @param {any} body
 * @param {AskOptions} [options]
 * @returns {Promise<Answer>}
 * @throws {ServerError} with the sentence of the server
 */
export async function ask(route, body, options = {}) {
  const began = performance.now();
  const { response, request } = await send(route, body, options);
  const isJson = (response.headers.get("content-type") ?? "").startsWith("application/json");
  const json = isJson ? await response.json() : null;
  const blob = isJson ? null : await response.blob();
  return {
    status: response.status,
    json,
    blob,
    timing: readTiming(response.headers.get("server-timing")),
    requestId: response.headers.get("x-request-id") ?? "",
    seconds: (performance.now() - began) / 1000,
    request,
  };
}

/**
 * The events of a streamed answer. `event` is "message" where the server gives no name. The last one has an `answer`:
 * where the time went.
 * @param {string} route
 * @param {any} body
 * @param {AskOptions} [options]
 * @returns {AsyncGenerator<{event: string, data: any, answer?: Partial<Answer>}>}
 * @throws {ServerError} also for an event named "error"
 */
export async function* stream(route, body, options = {}) {
  const began = performance.now();
  const { response } = await send(route, body, { accept: "text/event-stream", ...options });
  const requestId = response.headers.get("x-request-id") ?? "";
  if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
    yield { event: "done", data: await response.json() };
    return;
  }
  let last = "";
  for await (const each of eventsOf(response)) {
    last = each.event;
    const seconds = (performance.now() - began) / 1000;
    yield each.timing ? { ...each, answer: { timing: each.timing, seconds, requestId } } : each;
  }
  if (last !== "done") throw new ServerError(0, "The stream ended before its last event. What came so far is not the whole answer.");
}

/**
 * The events of a response as they come. One that is cut off gives none.
 * @param {Response} response
 * @returns {AsyncGenerator<{event: string, data: any, timing: Timing | null}>}
 * @throws {ServerError} for an event named "error", and where the connection breaks
 */
export async function* eventsOf(response) {
  const requestId = response.headers.get("x-request-id") ?? "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error) => Promise.reject(broken(error, requestId)));
      if (done) return;
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const each of events) yield readEvent(each, requestId); // one by one: an error may come behind steps
    }
  } finally {
    reader.cancel().catch(() => undefined); // the caller has stopped early
  }
}

function broken(error, requestId) {
  if (error.name === "AbortError") return error;
  return new ServerError(0, "The connection broke off in the middle of the answer.", requestId);
}

async function send(route, body, { accept = "application/json", signal, query, contentType, method = "POST" }) {
  const isPlain = body === undefined || typeof body === "string" || body instanceof Blob || body instanceof FormData;
  const headers = { accept, ...keyHeaders() };
  if (contentType) headers["content-type"] = contentType;
  else if (!isPlain) headers["content-type"] = "application/json";
  const url = address(route, query);
  let response;
  try {
    response = await fetch(url, { method, headers, body: isPlain ? body : JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(0, "The server did not answer. Is it running, and can this computer reach it?");
  }
  noteStatus(response.status);
  if (!response.ok) throw await readError(response);
  const path = new URL(url).pathname.slice(new URL(address("")).pathname.length);
  return { response, request: { route: `/${path}${new URL(url).search}`, body, accept } };
}

async function readError(response) {
  const text = await response.text();
  let told = {};
  try {
    told = JSON.parse(text);
  } catch {
    // A proxy answers in another form.
  }
  const message = told?.error ?? `The server answered ${response.status} ${response.statusText}.`;
  return new ServerError(response.status, String(message), told?.request_id ?? response.headers.get("x-request-id") ?? "");
}

function readEvent(text, requestId) {
  let event = "message";
  let timing = null;
  const data = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
    else if (line.startsWith(TIMING)) timing = readTiming(line.slice(TIMING.length));
  }
  const value = data.length ? JSON.parse(data.join("\n")) : null;
  if (event === "error") throw new ServerError(500, value?.error ?? "The stream failed.", value?.request_id ?? requestId);
  return { event, data: value, timing };
}

/**
 * What a Server-Timing header says, in milliseconds. W3C Server Timing.
 * @param {string | null} header
 * @returns {Timing | null} null where the header has no stages of a batch
 */
function readTiming(header) {
  if (!header) return null;
  const found = {};
  for (const part of header.split(",")) {
    const [name, ...parameters] = part.trim().split(";");
    for (const parameter of parameters) {
      const [key, value] = parameter.trim().split("=");
      found[`${name}.${key}`] = Number(value.replaceAll('"', ""));
    }
  }
  if (found["compute.dur"] === undefined) return null;
  return {
    queueMs: found["queue.dur"] ?? 0,
    batchMs: found["batch.dur"] ?? 0,
    computeMs: found["compute.dur"],
    totalMs: found["total.dur"] ?? 0,
    rows: found["rows.desc"] ?? null,
  };
}
