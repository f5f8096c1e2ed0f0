// Pictures: what a model can be sent, and how they are drawn without an address of their own
// (the page allows no addresses but the server's).

import { newId } from "../core/id.ts";
import type { DraftPicture } from "./draft.ts";

const SENT = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const LARGEST = 20 * 1024 * 1024;

/** A file as it will be sent: as it is, or as PNG where models know its format not. */
export async function preparePicture(file: File): Promise<DraftPicture> {
  const name = file.name || "picture";
  let data: Blob = file;
  if (!SENT.includes(file.type)) {
    const bitmap = await decode(file, name);
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d")!.drawImage(bitmap, 0, 0);
    data = await canvas.convertToBlob({ type: "image/png" });
  } else {
    (await decode(file, name)).close();
  }
  if (data.size > LARGEST) {
    throw new Error(`${name} has ${Math.round(data.size / 1e6)} MB; at most 20 MB can be sent.`);
  }
  return { ref: { id: newId(), name, type: data.type }, data };
}

async function decode(file: Blob, name: string): Promise<ImageBitmap> {
  try {
    return await createImageBitmap(file);
  } catch {
    throw new Error(`${name} is not a picture that this browser can read.`);
  }
}

/** Draws a picture at most `width` by `height` large, in device pixels of its own. */
export async function draw(canvas: HTMLCanvasElement, data: Blob, width: number, height: number): Promise<void> {
  const bitmap = await createImageBitmap(data);
  const scale = Math.min(1, width / bitmap.width, height / bitmap.height);
  const density = Math.min(devicePixelRatio || 1, 1 / scale);
  const shownWidth = Math.max(1, Math.round(bitmap.width * scale));
  const shownHeight = Math.max(1, Math.round(bitmap.height * scale));
  canvas.width = Math.round(shownWidth * density);
  canvas.height = Math.round(shownHeight * density);
  canvas.style.width = `${shownWidth}px`;
  const context = canvas.getContext("2d")!;
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
}

export function dataUrl(data: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result as string);
    reader.onerror = () => reject(new Error("A picture could not be read from this browser's storage."));
    reader.readAsDataURL(data);
  });
}

/** The bytes of a data URL of a picture. */
export function fromDataUrl(url: string): Blob {
  const found = /^data:(image\/[a-z0-9.+-]+);base64,([A-Za-z0-9+/=]*)$/i.exec(url);
  if (!found) throw new Error("not a data URL of a picture");
  const bytes = Uint8Array.from(atob(found[2]!), (char) => char.charCodeAt(0));
  return new Blob([bytes], { type: found[1]!.toLowerCase() });
}
