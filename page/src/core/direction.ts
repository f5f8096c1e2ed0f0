// Which way a text runs: as its first letter does. `dir="auto"` says the same, but in a text field
// with many lines it takes a browser seconds.

const LETTER = /\p{L}/u;
const FROM_THE_RIGHT = /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Adlam}]/u;

export function direction(text: string): "ltr" | "rtl" {
  const first = LETTER.exec(text)?.[0] ?? "";
  return FROM_THE_RIGHT.test(first) ? "rtl" : "ltr";
}
