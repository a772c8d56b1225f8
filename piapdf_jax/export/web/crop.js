"use strict";
// Geometry and pixels as piapdf_jax.faces.cropping has them: pixel centers lie at whole numbers. A view is the point
// (x, y) of the picture at the center of the crop, pixels of the crop for one of the picture, and radians. Images are
// {data, width, height} of RGBA bytes, as a canvas gives them.

// From the picture to a crop of side `size`, [2, 3].
const matrixOf = ({x, y, scale, angle}, size) => {
  const a = scale * Math.cos(angle), b = scale * Math.sin(angle), center = (size - 1) / 2;
  return [[a, -b, center - a * x + b * y], [b, a, center - b * x - a * y]];
};

// For each of `count` cells, `each` pixels long, its first pixel, and the weight of each pixel from there on.
const cellsOf = (length, count, each) => Array.from({length: count}, (_, k) => {
  const from = k * each, to = Math.min(from + each, length), first = Math.floor(from + 1e-9), weights = [];
  for (let p = first; p < to - 1e-9; p++) {
    weights.push((Math.min(to, p + 1) - Math.max(from, p)) / (to - from));
  }
  return [first, weights];
});

// Averages areas of `each` pixels a side, rounded to bytes: a clamped array rounds what is stored in it.
const average = (image, width, height, each) => {
  const columns = cellsOf(image.width, width, each), rows = cellsOf(image.height, height, each);
  const across = new Float32Array(image.height * width * 4), data = new Uint8ClampedArray(height * width * 4);
  for (let row = 0; row < image.height; row++) {
    for (let column = 0; column < width; column++) {
      const [first, weights] = columns[column], to = (row * width + column) * 4;
      for (let k = 0; k < weights.length; k++) {
        const from = (row * image.width + first + k) * 4, weight = weights[k];
        for (let c = 0; c < 3; c++) across[to + c] += weight * image.data[from + c];
      }
    }
  }
  const sum = new Float32Array(width * 4);
  rows.forEach(([first, weights], row) => {
    sum.fill(0);
    weights.forEach((weight, k) => {
      const from = (first + k) * width * 4;
      for (let p = 0; p < sum.length; p++) sum[p] += weight * across[from + p];
    });
    data.set(sum, row * width * 4);
  });
  return {data, width, height};
};

// Bilinear; beyond the border the picture's edge is repeated.
const sample = (image, [[a, , e], [b, , f]], size) => {
  const {width, height} = image, norm = a * a + b * b, data = new Uint8ClampedArray(size * size * 4);
  const inside = (value, most) => Math.min(Math.max(value, 0), most);
  for (let row = 0, to = 0; row < size; row++) {
    for (let column = 0; column < size; column++, to += 4) {
      const x = inside((a * (column - e) + b * (row - f)) / norm, width - 1);
      const y = inside((a * (row - f) - b * (column - e)) / norm, height - 1);
      const left = Math.floor(x), top = Math.floor(y), right = x - left, down = y - top;
      const p = (top * width + left) * 4, q = left + 1 < width ? p + 4 : p, below = top + 1 < height ? width * 4 : 0;
      for (let c = 0; c < 3; c++) {
        const upper = image.data[p + c] * (1 - right) + image.data[q + c] * right;
        const lower = image.data[p + below + c] * (1 - right) + image.data[q + below + c] * right;
        data[to + c] = upper * (1 - down) + lower * down;
      }
    }
  }
  return {data, width: size, height: size};
};

// Bilinear sampling alone skips pixels of a picture that gets much smaller: it is averaged to nearly its size first.
const cutOut = (image, view, size) => {
  if (view.scale >= 0.75) return sample(image, matrixOf(view, size), size);
  const sides = [image.width, image.height].map(side => Math.max(1, Math.round(side * view.scale)));
  const small = average(image, ...sides, 1 / view.scale);
  const [x, y] = [view.x, view.y].map(place => (place + 0.5) * view.scale - 0.5);
  return sample(small, matrixOf({...view, x, y, scale: 1}, size), size);
};

// What the network takes: the crop of `full` pixels, averaged to `size`.
const cropOf = (image, view, full, size) => {
  const scaled = Math.max(full, size);
  const crop = cutOut(image, {...view, scale: view.scale * scaled / full}, scaled);
  return size < scaled ? average(crop, size, size, scaled / size) : crop;
};

const rgbOf = ({data}) => {
  const bytes = new Uint8Array(data.length / 4 * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    for (let c = 0; c < 3; c++) bytes[to++] = data[from + c];
  }
  return bytes;
};
