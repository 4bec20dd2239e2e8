/** Files in memory: from and to base64, as rows and answers have them, and as what elements show or save. */

import { h } from "./dom.js";

const addresses = new FinalizationRegistry((url) => URL.revokeObjectURL(url));

/** The bytes of a text in base64. @param {string} text */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** The file of a row such as `{"image": base64}` or `{"sound": base64}`. @returns {Blob} */
export function blobOfRow({ image, sound }) {
  return image ? new Blob([fromBase64(image)], { type: "image/png" }) : new Blob([fromBase64(sound)], { type: "audio/wav" });
}

/** A file as a data URL. @param {Blob} blob @returns {Promise<string>} */
export function readDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** The base64 of a data URL. @param {string} url */
export function base64Of(url) {
  return url.slice(url.indexOf(",") + 1);
}

/**
 * Give an element a file. The browser may forget the file once the element is gone.
 * @param {any} element @param {"src" | "href"} property @param {Blob} blob
 * @returns {any} the element
 */
export function give(element, property, blob) {
  element[property] = URL.createObjectURL(blob);
  addresses.register(element, element[property]);
  return element;
}

/** A player of a sound. @param {Blob} blob @param {string} label what it is, for people who do not see it */
export function audioOf(blob, label) {
  return give(h("audio", { controls: true, "aria-label": label }), "src", blob);
}
