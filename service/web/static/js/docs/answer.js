/** Sends a call and shows what comes back: JSON, a picture, a sound, events one by one, or bytes. */

import { keyHeaders, noteStatus } from "../access.js";
import { address, eventsOf } from "../api.js";
import { audioOf, blobOfRow, give, readDataUrl } from "../blobs.js";
import { h, replace } from "../dom.js";
import { duration, plural } from "../format.js";
import { pictureUrl } from "../pictures/pictures.js";
import { codeBlock, showError } from "../result.js";
import { findMedia, formatJson } from "./json.js";

const MOST_SHOWN = 30_000;
const MOST_EVENTS = 500;
const MOST_FORMATTED = 500_000; // more takes a browser seconds
const LENGTH = "inference-header-content-length";
const SAID = [
  ["x-request-id", "Request"],
  ["server-timing", "Server-Timing"],
  ["retry-after", "Retry-After"],
];

/**
 * @param {HTMLElement} parent is filled anew
 * @param {import("./call.js").Call} call
 * @param {AbortSignal} signal
 */
export async function sendCall(parent, call, signal) {
  const began = performance.now();
  const status = h("p", { class: "answer-status", role: "status" }, "Waiting for the answer…");
  const body = h("div", { class: "answer-body" });
  replace(parent, status, body);
  parent.dataset.state = "waiting";
  try {
    const { method, route, headers } = call;
    const response = await fetch(address(route), {
      ...{ method, body: call.body, signal },
      headers: { ...keyHeaders(), ...headers },
    });
    noteStatus(response.status);
    await showResponse(body, response);
    replace(status, describe(response, (performance.now() - began) / 1000));
    body.append(showHeaders(response));
    parent.dataset.status = String(response.status);
  } catch (error) {
    if (!status.isConnected) return; // a later call is shown
    parent.dataset.status = "0";
    if (error.name === "AbortError") replace(status, "Stopped.");
    else {
      replace(status);
      const isNetwork = error instanceof TypeError;
      const wrong = h("div");
      body.append(wrong);
      showError(
        wrong,
        isNetwork ? new Error("The server did not answer, or its answer broke off. Is it still running?") : error,
      );
    }
  }
  parent.dataset.state = "done";
}

function describe(response, seconds) {
  const words = {
    200: "OK",
    400: "Bad request",
    403: "Not allowed",
    404: "Not found",
    413: "Too large",
    415: "Not supported",
  };
  const text = response.statusText || words[response.status] || "";
  const mark = response.ok ? "good" : "bad";
  return [
    h("strong", { class: `state ${mark}` }, `${response.status} ${text}`),
    h("span", { class: "muted" }, ` in ${duration(seconds)}`),
  ];
}

function showHeaders(response) {
  const lines = SAID.filter(([name]) => response.headers.has(name));
  if (!lines.length) return h("span");
  return h(
    "dl",
    { class: "answer-headers small" },
    lines.map(([name, title]) => h("div", null, h("dt", null, title), h("dd", null, response.headers.get(name)))),
  );
}

async function showResponse(parent, response) {
  const type = (response.headers.get("content-type") ?? "").split(";")[0];
  if (type === "text/event-stream") return showEvents(parent, response);
  if (type === "application/json" && !response.headers.has(LENGTH)) return showJson(parent, await response.text());
  const blob = await response.blob();
  if (type.startsWith("image/"))
    return parent.append(showPicture(await readDataUrl(blob), `Answer: ${blob.size} bytes`));
  if (type.startsWith("audio/")) return parent.append(audioOf(blob, "Answer"));
  if (response.headers.has(LENGTH)) return showTensors(parent, blob, Number(response.headers.get(LENGTH)));
  return showText(parent, await blob.text());
}

function showJson(parent, text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return showText(parent, text);
  }
  parent.append(...showMedia(value));
  if (text.length > MOST_FORMATTED) return showText(parent, text);
  const whole = formatJson(value);
  const shown = formatJson(value, { cuts: true });
  return parent.append(codeBlock(whole, shown.length > MOST_SHOWN ? `${shown.slice(0, MOST_SHOWN)}\n…` : shown));
}

function showText(parent, text) {
  const shown = text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}\n…` : text;
  parent.append(codeBlock(text, shown));
}

/** The pictures and sounds in an answer. */
function showMedia(value) {
  const found = findMedia(value);
  const pictures = found.filter(({ kind }) => kind === "image");
  const sounds = found.filter(({ kind }) => kind === "sound");
  const gallery = pictures.map(({ path, base64 }) => showPicture(pictureUrl(base64), path));
  return [
    ...(gallery.length ? [h("div", { class: "gallery" }, gallery)] : []),
    ...sounds.map(({ path, base64 }) =>
      h("figure", null, audioOf(blobOfRow({ sound: base64 }), path), h("figcaption", null, path)),
    ),
  ];
}

function showPicture(src, caption) {
  const image = h("img", { src, alt: `Picture ${caption}` });
  image.addEventListener("load", () => {
    if (image.naturalWidth < 64) image.classList.add("pixelated");
    image.alt = `Picture ${caption}, ${image.naturalWidth} × ${image.naturalHeight} pixels`;
  });
  return h("figure", null, image, h("figcaption", null, caption));
}

/** Events as they come. */
async function showEvents(parent, response) {
  const list = h("ol", { class: "events", "aria-label": "Events", tabindex: "0" });
  const count = h("p", { class: "muted", role: "status" });
  parent.append(count, list);
  let events = 0;
  let isDone = false;
  for await (const { event, data } of eventsOf(response)) {
    events += 1;
    isDone = event === "done";
    list.append(
      h(
        "li",
        null,
        h("span", { class: `chip ${isDone ? "last" : ""}` }, event),
        ...showMedia(data),
        h("pre", null, h("code", null, formatJson(data, { cuts: true }))),
      ),
    );
    if (list.children.length > MOST_EVENTS) list.firstElementChild.remove();
    const cut = events > MOST_EVENTS ? `, the last ${MOST_EVENTS} of them below` : "";
    replace(count, `${plural(events, "event")}${cut}${isDone ? ", and the answer is complete" : " so far"}.`);
  }
  if (!events) throw new Error("The stream ended without an event.");
  if (!isDone) replace(count, `${plural(events, "event")}, then the stream ended.`);
}

/** JSON, then the bytes of tensors. */
async function showTensors(parent, blob, length) {
  showJson(parent, await blob.slice(0, length).text());
  const link = give(h("a", { download: "answer.bin", class: "button small" }, "Save all"), "href", blob);
  const bytes = (blob.size - length).toLocaleString("en");
  parent.append(h("p", null, `${bytes} bytes of tensors follow the JSON. `, link));
}
