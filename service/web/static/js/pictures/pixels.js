/** Rows of numbers as pictures: what a model for pictures takes, shown to people. */

/**
 * @param {any} row nested numbers [channels, height, width], or [height, width, channels]
 * @param {{channels: number, scale: any, offset: any, order?: string, layout?: string}} image from the model's details
 * @returns {Promise<Blob | null>} a PNG; null if the row is no such picture
 */
export async function pictureOfNumbers(row, image) {
  const planes = image.layout === "NHWC" ? channelsFirst(row) : row;
  const [height, width] = [planes?.[0]?.length ?? 0, planes?.[0]?.[0]?.length ?? 0];
  if (!height || !width || planes.length !== image.channels) return null;
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  const order = image.channels === 1 ? [0, 0, 0] : image.order === "BGR" ? [2, 1, 0] : [0, 1, 2];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = 4 * (y * width + x);
      order.forEach((channel, i) => (pixels.data[at + i] = levelOf(planes[channel][y][x], image, channel)));
      pixels.data[at + 3] = 255;
    }
  }
  context.putImageData(pixels, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function levelOf(value, { scale, offset }, channel) {
  const of = (each) => (Array.isArray(each) ? each[channel] : each);
  return Math.round((value - of(offset)) / of(scale));
}

function channelsFirst(row) {
  return row?.[0]?.[0]?.map((_, channel) => row.map((line) => line.map((pixel) => pixel[channel])));
}
