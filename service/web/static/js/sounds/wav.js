/** Samples to WAV and to the peaks of a drawing. */

const HEADER_BYTES = 44;

/**
 * A WAV file of one channel with 16 bits.
 * @param {Float32Array[]} parts samples from -1 to 1
 * @param {number} rate in Hz
 * @returns {Blob}
 */
export function writeWav(parts, rate) {
  const count = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new DataView(new ArrayBuffer(HEADER_BYTES + 2 * count));
  const put = (at, text) => [...text].forEach((sign, i) => bytes.setUint8(at + i, sign.charCodeAt(0)));
  put(0, "RIFF");
  bytes.setUint32(4, 36 + 2 * count, true);
  put(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true); // the length of what follows
  bytes.setUint16(20, 1, true); // PCM
  bytes.setUint16(22, 1, true); // channels
  bytes.setUint32(24, rate, true);
  bytes.setUint32(28, rate * 2, true);
  bytes.setUint16(32, 2, true); // bytes of a sample
  bytes.setUint16(34, 16, true); // bits
  put(36, "data");
  bytes.setUint32(40, 2 * count, true);
  let at = HEADER_BYTES;
  for (const part of parts) {
    for (const sample of part) {
      const bounded = Math.max(-1, Math.min(1, sample));
      bytes.setInt16(at, Math.round(bounded * 32767), true);
      at += 2;
    }
  }
  return new Blob([bytes.buffer], { type: "audio/wav" });
}

/**
 * The largest size in each of so many equal parts.
 * @param {Float32Array} samples
 * @param {number} count
 * @returns {number[]} 0 to 1
 */
export function findPeaks(samples, count) {
  const step = samples.length / count;
  return Array.from({ length: count }, (_, i) => {
    let most = 0;
    const end = Math.min(samples.length, Math.floor((i + 1) * step) + 1);
    for (let at = Math.floor(i * step); at < end; at += 1) most = Math.max(most, Math.abs(samples[at]));
    return Math.min(1, most);
  });
}
