/** A field for sounds: recorded, dropped or chosen. */

import { audioOf, base64Of, blobOfRow, readDataUrl } from "../blobs.js";
import { h, replace } from "../dom.js";
import { acceptDrops, fileInput } from "../fields.js";
import { duration } from "../format.js";
import { makeQueue } from "../queue.js";
import { showError } from "../result.js";
import { readSamples, record, whyNotRecord } from "./recorder.js";
import { soundTimeline } from "./timeline.js";

const TYPES = "audio/*,.wav,.flac,.ogg,.oga,.opus,.mp3";

/**
 * @typedef {object} SoundValue
 * @property {Blob} blob
 * @property {string} name
 * @property {number|null} seconds null for a file that the browser does not read
 * @property {() => {sound: string}} asRow what goes into `inputs`
 */

/**
 * @param {{longest_s?: number, multiple?: boolean, onSound: (sound: SoundValue) => void}} options `multiple`: several
 *   files may be chosen or dropped, and each is given
 * @returns {{element: HTMLElement, readonly sound: SoundValue|null, set: (blob: Blob, name?: string) => Promise<void>,
 *   setRow: (row: any) => Promise<void>, clear: () => void,
 *   showParts: (parts: import("./timeline.js").SoundPart[]) => void, destroy: () => void}}
 *   `setRow` shows the sound of a row such as `{"sound": base64}`, and leaves out other rows
 */
export function soundInput(options) {
  const input = new SoundInput(options);
  return {
    element: input.element,
    get sound() {
      return input.sound;
    },
    set: (blob, name) => input.set(blob, name),
    setRow: async (row) => (row?.sound ? input.set(blobOfRow(row), "example") : undefined),
    clear: () => input.clear(),
    showParts: (parts) => input.show(parts),
    destroy: () => input.destroy(),
  };
}

class SoundInput {
  constructor({ longest_s = 600, multiple = false, onSound }) {
    Object.assign(this, { longest_s, onSound, sound: null, samples: null, recording: null, isOver: false });
    this.inTurn = makeQueue();
    this.button = h("button", { type: "button", class: "record", onclick: () => this.toggle() }, "Record");
    this.meter = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Loudness" });
    this.time = h("span", { role: "timer", class: "muted" });
    this.wrong = h("div");
    this.view = h("div", { class: "sound-view" });
    this.player = h("div");
    const file = fileInput({
      label: multiple ? "Add sounds" : "Choose a sound",
      accept: TYPES,
      hint: "or drop it here: WAV, FLAC, OGG or MP3",
      multiple,
      onFile: (found) => this.set(found, found.name),
    });
    const why = whyNotRecord();
    this.button.disabled = Boolean(why);
    this.element = h(
      "div",
      { class: "sound-input", role: "group", "aria-label": "Sound" },
      file.element,
      h("div", { class: "row" }, this.button, this.meter, this.time),
      why ? h("small", { class: "hint" }, why) : null,
      this.wrong,
      this.view,
      this.player,
    );
    acceptDrops(this.element, file.give);
  }

  async toggle() {
    if (this.recording) {
      this.recording.stop();
      return;
    }
    replace(this.wrong);
    this.button.disabled = true;
    try {
      this.recording = await record({
        longest_s: this.longest_s,
        onLevel: (level, seconds) => this.hear(level, seconds),
        onEnd: (blob) => this.end(blob),
      });
      if (this.isOver) this.recording.stop();
      else this.setRecording(true);
    } catch (error) {
      showError(this.wrong, error);
    } finally {
      this.button.disabled = false;
    }
  }

  hear(level, seconds) {
    this.meter.value = Math.sqrt(level);
    replace(this.time, `${seconds.toFixed(1)} of ${duration(this.longest_s)}`);
  }

  end(blob) {
    if (this.isOver) return;
    this.recording = null;
    this.setRecording(false);
    if (blob) this.set(blob, "recording.wav");
    else showError(this.wrong, new Error("Nothing was recorded. Is the microphone on?"));
  }

  setRecording(isOn) {
    replace(this.button, isOn ? "Stop recording" : "Record");
    this.button.classList.toggle("primary", isOn);
    this.meter.hidden = !isOn;
    if (!isOn) replace(this.time);
  }

  /** Sounds are read one after the other, so that the one that was chosen last is the one that stays. */
  set(blob, name = "sound.wav") {
    return this.inTurn(() => this.read(blob, name));
  }

  async read(blob, name) {
    const [read, url] = await Promise.all([readSamples(blob), readDataUrl(blob)]);
    if (this.isOver) return;
    replace(this.wrong);
    const seconds = read?.seconds ?? null;
    this.samples = read?.samples ?? null;
    this.sound = { blob, name, seconds, asRow: () => ({ sound: base64Of(url) }) };
    this.audio = audioOf(blob, name);
    this.audio.hidden = read === null;
    replace(this.player, this.audio);
    this.show([]);
    this.onSound(this.sound);
  }

  clear() {
    this.sound = null;
    replace(this.player);
    replace(this.view);
  }

  /** The sound, with parts of it below. */
  show(parts) {
    const { name, seconds, blob } = this.sound;
    const size = `${name}, ${seconds === null ? "" : `${seconds.toFixed(1)} s, `}${Math.ceil(blob.size / 1024).toLocaleString("en")} KiB`;
    const longest = Math.max(0, ...parts.map(({ end_s }) => end_s));
    const note = seconds === null ? "This browser cannot play it, but the server may read it." : "";
    replace(
      this.view,
      h("p", { class: "muted small" }, size, note ? `. ${note}` : ""),
      seconds === null && !parts.length
        ? null
        : soundTimeline({ audio: this.audio, samples: this.samples, seconds: seconds ?? longest, parts }),
    );
  }

  destroy() {
    this.isOver = true;
    this.recording?.stop();
  }
}
