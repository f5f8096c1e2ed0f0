import assert from "node:assert/strict";
import { test } from "node:test";

import { direction } from "../src/core/direction.ts";

test("a text runs as its first letter does", () => {
  for (const text of ["", "12: (!)", "Hello שלום", "Ελληνικά", "日本語", "𝒙 שלום"]) assert.equal(direction(text), "ltr", text);
  for (const text of ["שלום hello", "1. مرحبا", "«فارسی»", "ދިވެހި", "𞤀𞤣𞤤𞤢𞤥"]) assert.equal(direction(text), "rtl", text);
});
