/**
 * A client of Sluice servers for browsers and Node 18 or newer. It needs nothing but `fetch`.
 *
 *     const sluice = new Client("http://127.0.0.1:3000");
 *     const answer = await sluice.ask("classify", { model: "digits-classifier", inputs: [await pictureOf(file)] });
 *     for await (const { event, answer } of sluice.stream("generate", { labels: ["7"] })) { … }
 */

import type { EncodedPicture, EncodedSound } from "./answers.js";
import type { Card, Cards, InferAnswer, InferRequest } from "./protocol.js";
import type { Tasks } from "./tasks.js";

export type * from "./answers.js";
export type * from "./protocol.js";
export type * from "./requests.js";
export type * from "./tasks.js";

/** What the server refused. `status` is that of HTTP, 0 for a stream that failed on its way. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly requestId: string,
    readonly retryAfterS: number | undefined = undefined,
  ) {
    super(message);
    this.name = "Refused";
  }
}

/** A step of a stream, or, at its end, the answer. */
export type Step<T extends keyof Tasks> =
  | { event: Tasks[T]["event"]; answer?: undefined }
  | { event?: undefined; answer: Tasks[T]["answer"] };

export interface Options {
  signal?: AbortSignal;
  /** Of every request, such as that of a proxy. */
  headers?: Record<string, string>;
}

export class Client {
  readonly #base: string;

  constructor(
    url: string,
    readonly options: Options = {},
  ) {
    this.#base = url.replace(/\/+$/, "");
  }

  /** The answer of a task. Throws Refused, and what `fetch` throws. */
  async ask<T extends keyof Tasks>(task: T, request: Tasks[T]["request"], options: Options = {}) {
    const response = await this.#post(task, request, "application/json", options);
    return (await response.json()) as Tasks[T]["answer"];
  }

  /** The answer of a task as a picture, as the server draws it. */
  async draw<T extends keyof Tasks>(task: T, request: Tasks[T]["request"], options: Options = {}): Promise<Blob> {
    return (await this.#post(task, request, "image/png", options)).blob();
  }

  /** The events of a task, and at the end its answer. To leave the loop tells the server to stop. */
  async *stream<T extends keyof Tasks>(
    task: T,
    request: Tasks[T]["request"],
    options: Options = {},
  ): AsyncGenerator<Step<T>, void, undefined> {
    const response = await this.#post(task, { ...request, stream: true }, "text/event-stream", options);
    for await (const { name, data } of readEvents(response)) {
      const value: unknown = JSON.parse(data);
      if (name === "error") {
        const { error, request_id } = value as { error: string; request_id: string };
        throw new Refused(0, error, request_id);
      }
      if (name === "done") {
        yield { answer: value as Tasks[T]["answer"] };
        return;
      }
      yield { event: value as Tasks[T]["event"] };
    }
    throw new Refused(0, "the stream ended before its last event", "");
  }

  /** Tensors to tensors, by the Open Inference Protocol in JSON. */
  async infer(model: string, request: InferRequest, options: Options = {}): Promise<InferAnswer> {
    const path = `v2/models/${encodeURIComponent(model)}/infer`;
    return (await (await this.#post(path, request, "application/json", options)).json()) as InferAnswer;
  }

  /** The cards of all models. */
  async models(options: Options = {}): Promise<Card[]> {
    const response = await this.#fetch("models", { method: "GET" }, options);
    return ((await response.json()) as Cards).models;
  }

  #post(path: string, body: object, accept: string, options: Options): Promise<Response> {
    const headers = { "content-type": "application/json", accept };
    return this.#fetch(path, { method: "POST", headers, body: JSON.stringify(body) }, options);
  }

  async #fetch(path: string, init: RequestInit, options: Options): Promise<Response> {
    const headers = { ...this.options.headers, ...(init.headers as Record<string, string>), ...options.headers };
    const signal = options.signal ?? this.options.signal ?? null;
    const response = await fetch(`${this.#base}/${path}`, { ...init, headers, signal });
    if (!response.ok) throw await readError(response);
    return response;
  }
}

/** A picture of a file, as a row. */
export async function pictureOf(file: Blob): Promise<EncodedPicture> {
  return { image: await encode(file) };
}

/** A sound of a file, as a row. */
export async function soundOf(file: Blob): Promise<EncodedSound> {
  return { sound: await encode(file) };
}

async function encode(file: Blob): Promise<string> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000)); // all at once are too many arguments
  }
  return btoa(text);
}

async function readError(response: Response): Promise<Refused> {
  const text = await response.text();
  const after = Number(response.headers.get("retry-after") ?? NaN);
  let content: { error?: unknown; request_id?: unknown } = {};
  try {
    content = JSON.parse(text) as typeof content;
  } catch {
    content = { error: text.slice(0, 500) }; // of a proxy
  }
  const requestId = String(content.request_id ?? response.headers.get("x-request-id") ?? "");
  return new Refused(response.status, String(content.error), requestId, Number.isNaN(after) ? undefined : after);
}

async function* readEvents(response: Response): AsyncGenerator<{ name: string; data: string }> {
  if (response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const events = (rest + value).split("\n\n");
      rest = events.pop() ?? "";
      for (const event of events) {
        const lines = event.split("\n");
        const fieldOf = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
        const data = fieldOf("data");
        if (data !== undefined) yield { name: fieldOf("event") ?? "message", data };
      }
    }
  } finally {
    await reader.cancel();
  }
}
