// What is being written and not sent yet.

import type { PictureRef } from "./types.ts";

export interface DraftPicture {
  ref: PictureRef;
  data: Blob;
}

export interface Draft {
  text: string;
  pictures: DraftPicture[];
}

export const EMPTY: Draft = { text: "", pictures: [] };
