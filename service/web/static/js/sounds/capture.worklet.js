/** Runs beside the page: passes on what the microphone hears, in parts of a tenth of a second or so. */

const PART = 4096;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.part = new Float32Array(PART);
    this.filled = 0;
    this.port.onmessage = () => this.give();
  }

  process([channels]) {
    if (!channels?.length) return true;
    for (let i = 0; i < channels[0].length; i += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.part[this.filled] = sum / channels.length;
      this.filled += 1;
      if (this.filled === PART) this.give();
    }
    return true;
  }

  give() {
    this.port.postMessage(this.part.slice(0, this.filled));
    this.filled = 0;
  }
}

registerProcessor("capture", Capture);
