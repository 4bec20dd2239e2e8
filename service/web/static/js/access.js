/**
 * The key of the person at this page. It stays in this tab, until the tab is closed, and goes to this server only.
 * Programs that the pages show have a placeholder in its place.
 */

import { h } from "./dom.js";

const KEPT = "sluice-key";
export const PLACEHOLDER = "Bearer YOUR_KEY";

/** @returns {Record<string, string>} the header of each request; none without a key */
export function keyHeaders() {
  const key = readKey();
  return key ? { authorization: `Bearer ${key}` } : {};
}

/** Whether programs need a key too. */
export function hasKey() {
  return readKey() !== "";
}

/**
 * Show the field for a key if an answer says that one is needed.
 * @param {number} status of an answer
 */
export function noteStatus(status) {
  if (status === 401 || status === 403) showField();
}

function readKey() {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return ""; // the browser keeps nothing for this page
  }
}

function keep(key) {
  try {
    if (key) sessionStorage.setItem(KEPT, key);
    else sessionStorage.removeItem(KEPT);
  } catch {
    // The key is gone with the page.
  }
  location.reload();
}

function showField() {
  const top = document.querySelector(".top");
  if (!top || top.querySelector(".key")) return;
  const input = h("input", {
    ...{ type: "password", id: "key", autocomplete: "off", spellcheck: "false", required: true },
    placeholder: hasKey() ? "Another key" : "API key",
    "aria-label": "API key",
  });
  const forget = h("button", { type: "button", class: "small", onclick: () => keep("") }, "Forget the key");
  const submit = (event) => {
    event.preventDefault();
    keep(input.value.trim());
  };
  const use = h("button", { type: "submit", class: "small" }, "Use this key");
  top.append(h("form", { class: "key", onsubmit: submit }, input, use, hasKey() ? forget : null));
}

if (hasKey()) showField();
