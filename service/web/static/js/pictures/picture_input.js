/**
 * A field for pictures: drawn, dropped, pasted or chosen.
 *
 * @typedef {{blob: Blob, dataUrl: string, width: number, height: number, asRow: () => {image: string}}} PictureValue
 *   `asRow()` is what goes into `inputs`. Width and height are 0 for a file that the browser cannot show
 */

import { base64Of, readDataUrl } from "../blobs.js";
import { h, replace } from "../dom.js";
import { acceptDrops } from "../fields.js";
import { makeQueue } from "../queue.js";
import { fileOfRow, isDrawable } from "./pictures.js";

const PICTURES = "image/png,image/jpeg,image/webp,image/gif,image/bmp,image/tiff";
const SIDE = 256;

/**
 * A component that gives pictures: `onPicture` is called for each new one.
 * @param {{onPicture: (picture: PictureValue) => void, image?: any, label?: string, multiple?: boolean}} options `image`
 *   is what the card says about pictures: where the model sees a few grey pixels, one can draw them. `multiple`: several
 *   files may be chosen or dropped, and each is given
 * @returns {{element: HTMLElement, picture: PictureValue | null,
 *   set: (blob: Blob, options?: {silent?: boolean}) => Promise<void>,
 *   setRow: (row: any, options?: {silent?: boolean}) => Promise<void>, clear: () => void, destroy: () => void}}
 *   `set` shows a picture as if it had been chosen; `silent`: without calling `onPicture`. `setRow` shows that of a row
 */
export function pictureInput({ onPicture, image = null, label = "Picture", multiple = false }) {
  const drawable = image !== null && isDrawable(image);
  const preview = h("div", { class: "picture-preview" });
  const canvas = drawable ? drawingCanvas(image.width, image.height, (blob) => set(blob, { drawn: true })) : null;
  const name = `${label}: choose a file`;
  const file = h("input", { type: "file", accept: PICTURES, multiple, class: "visually-hidden", "aria-label": name });
  file.addEventListener("change", () => {
    take([...file.files]);
    file.value = "";
  });
  const inTurn = makeQueue();
  let isOver = false;
  const component = { element: null, picture: null, set, setRow, clear, destroy };
  component.element = layOut(label, canvas?.element, preview, file, clear);
  acceptDrops(component.element, (files) => take([...files]));
  const ignorePastes = acceptPastes(set);
  clear();

  function take(files) {
    for (const each of multiple ? files : files.slice(0, 1)) set(each);
  }

  /** Pictures are read one after the other, so that the one that was chosen last is the one that stays. */
  function set(blob, how = {}) {
    return inTurn(() => read(blob, how));
  }

  function setRow(row, how = {}) {
    return inTurn(async () => {
      const file = await fileOfRow(row, image);
      if (file) await read(file, how);
    });
  }

  async function read(blob, { drawn = false, silent = false }) {
    const picture = await readPicture(blob);
    if (isOver) return;
    component.picture = picture;
    if (!drawn && canvas) await canvas.show(blob);
    else if (!drawn) show(preview, picture, label);
    if (!silent) onPicture(picture);
  }

  function clear() {
    component.picture = null;
    canvas?.clear();
    replace(preview, h("p", { class: "muted" }, "No picture yet"));
  }

  function destroy() {
    isOver = true;
    ignorePastes();
  }

  return component;
}

/** The parts of the field. `canvas` is there where one can draw. */
function layOut(label, canvas, preview, file, clear) {
  const begin = canvas ? "Draw with white ink and fill the square. Or drop" : "Drop";
  const choose = h("label", { class: "button" }, file, "Choose a file");
  return h(
    "div",
    { class: "picture-input", role: "group", "aria-label": label },
    h("div", { class: "picture-stage" }, canvas ?? preview),
    h("div", { class: "row" }, choose, h("button", { type: "button", class: "quiet", onclick: clear }, "Clear")),
    h("small", { class: "hint" }, `${begin}, paste or choose a picture.`),
  );
}

/** Calls `give` with pictures that are pasted anywhere on the page, until the function that it returns is called. */
function acceptPastes(give) {
  const paste = (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
    if (!pasted) return;
    event.preventDefault();
    give(pasted);
  };
  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}

function show(preview, picture, label) {
  const size = picture.width ? `${picture.width} × ${picture.height} pixels` : "This browser cannot show it, but the server may read it.";
  const small = picture.width && picture.width < 64 ? "pixelated" : null;
  replace(
    preview,
    picture.width ? h("img", { src: picture.dataUrl, alt: `${label}, ${size}`, class: small }) : null,
    h("small", { class: "muted" }, size),
  );
}

/** @param {Blob} blob @returns {Promise<PictureValue>} */
export async function readPicture(blob) {
  const dataUrl = await readDataUrl(blob);
  let size = { width: 0, height: 0 };
  try {
    const bitmap = await createImageBitmap(blob);
    size = { width: bitmap.width, height: bitmap.height };
    bitmap.close();
  } catch {
    // The server reads formats that browsers do not, such as TIFF.
  }
  return { blob, dataUrl, ...size, asRow: () => ({ image: base64Of(dataUrl) }) };
}

/** White ink on black, which is how digits and letters are usually trained. The pen is as thick as a pixel of the model. */
function drawingCanvas(width, height, onDrawn) {
  const scale = SIDE / Math.max(width, height);
  const canvas = h("canvas", {
    ...{ width: Math.round(width * scale), height: Math.round(height * scale), class: "drawing" },
    ...{ role: "img", "aria-label": "Draw here with a mouse, a finger or a pen. With the keyboard, choose a file." },
  });
  const context = canvas.getContext("2d");
  let last = null;

  function clear() {
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }

  /** As the model sees it: stretched to the sides that it takes. */
  async function show(blob) {
    const bitmap = await createImageBitmap(blob).catch(() => null);
    clear();
    if (!bitmap) return;
    context.imageSmoothingEnabled = bitmap.width > canvas.width;
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
  }

  function at(event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
  }

  function draw(event) {
    if (last === null) return;
    const to = at(event);
    Object.assign(context, { strokeStyle: "#fff", lineCap: "round", lineJoin: "round" });
    context.lineWidth = Math.max(canvas.width / 16, Math.min(scale, canvas.width / 9));
    context.beginPath();
    context.moveTo(...last);
    context.lineTo(...to);
    context.stroke();
    last = to;
  }

  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    last = at(event);
    draw(event);
  });
  canvas.addEventListener("pointermove", draw);
  const end = () => {
    if (last === null) return;
    last = null;
    canvas.toBlob((blob) => onDrawn(blob), "image/png");
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  clear();
  return { element: canvas, clear, show };
}
