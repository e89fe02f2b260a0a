// Makes screenshots small: a palette of 256 colors, which is enough for a page without photographs.
import { crc32, deflateSync, inflateSync } from "node:zlib";

const MAX_COLORS = 256;

interface Image {
  width: number;
  height: number;
  /** One number per pixel: `0xRRGGBB`. */
  pixels: Uint32Array;
}

function read(png: Buffer): Image {
  const data: Buffer[] = [];
  for (let at = 8; at < png.length; ) {
    const size = png.readUInt32BE(at);
    if (png.toString("latin1", at + 4, at + 8) === "IDAT")
      data.push(png.subarray(at + 8, at + 8 + size));
    at += size + 12;
  }
  const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
  const step = png[25] === 6 ? 4 : 3;
  const rows = inflateSync(Buffer.concat(data));
  const line = width * step;
  const pixels = new Uint32Array(width * height);
  let before = new Uint8Array(line);
  for (let y = 0; y < height; y++) {
    const filter = rows[y * (line + 1)];
    const row = Uint8Array.from(rows.subarray(y * (line + 1) + 1, (y + 1) * (line + 1)));
    for (let x = 0; x < line; x++) {
      const left = x < step ? 0 : (row[x - step] as number);
      const corner = x < step ? 0 : (before[x - step] as number);
      row[x] = (row[x] as number) + predicted(filter ?? 0, left, before[x] as number, corner);
    }
    for (let x = 0; x < width; x++) {
      const [red, green, blue] = row.subarray(x * step, x * step + 3);
      pixels[y * width + x] = ((red as number) << 16) | ((green as number) << 8) | (blue as number);
    }
    before = row;
  }
  return { width, height, pixels };
}

/** The value that a filter of the PNG format adds to a byte. */
function predicted(filter: number, left: number, up: number, corner: number): number {
  if (filter < 3) return [0, left, up][filter] as number;
  if (filter === 3) return (left + up) >> 1;
  const guess = left + up - corner;
  const distances = [left, up, corner].map((value) => Math.abs(guess - value));
  return [left, up, corner][distances.indexOf(Math.min(...distances))] as number;
}

function nearest(palette: number[], color: number): number {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  palette.forEach((other, index) => {
    let distance = 0;
    for (const shift of [16, 8, 0])
      distance += (((color >> shift) & 255) - ((other >> shift) & 255)) ** 2;
    if (distance < least) [best, least] = [index, distance];
  });
  return best;
}

function chunk(type: string, data: Uint8Array): Buffer {
  const content = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  check.writeUInt32BE(crc32(content));
  return Buffer.concat([length, content, check]);
}

/** Returns a PNG with the most frequent colors; each other color becomes the nearest of them. */
export function withPalette(png: Buffer): Buffer {
  const { width, height, pixels } = read(png);
  const counts = new Map<number, number>();
  for (const color of pixels) counts.set(color, (counts.get(color) ?? 0) + 1);
  const palette = [...counts.keys()]
    .sort((a, b) => (counts.get(b) as number) - (counts.get(a) as number))
    .slice(0, MAX_COLORS);
  const indexes = new Map(palette.map((color, index) => [color, index]));
  for (const color of counts.keys())
    if (!indexes.has(color)) indexes.set(color, nearest(palette, color));
  const rows = Buffer.alloc((width + 1) * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      rows[y * (width + 1) + 1 + x] = indexes.get(pixels[y * width + x] as number) as number;
  const header = Buffer.from(png.subarray(16, 29));
  header.set([8, 3], 8);
  const colors = palette.flatMap((color) => [color >> 16, (color >> 8) & 255, color & 255]);
  return Buffer.concat([
    png.subarray(0, 8),
    chunk("IHDR", header),
    chunk("PLTE", Uint8Array.from(colors)),
    chunk("IDAT", deflateSync(rows, { level: 9, memLevel: 9 })),
    chunk("IEND", new Uint8Array()),
  ]);
}
