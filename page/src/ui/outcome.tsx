// What an answer took, in one line.

import type { Message } from "../store/types.ts";

const number = new Intl.NumberFormat("en");
const decimal = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export function Outcome({ data }: { data: Message }) {
  const { outcome, confidences } = data;
  const parts: string[] = [];
  if (data.edited) parts.push("edited by you");
  if (outcome?.completion_tokens != null) {
    const speed = outcome.decode_tps ? `, ${decimal.format(outcome.decode_tps)} a second` : "";
    parts.push(`${count(outcome.completion_tokens, "token")}${speed}`);
  }
  if (outcome?.time_to_first_token_ms != null) {
    parts.push(`first after ${decimal.format(outcome.time_to_first_token_ms / 1000)} s`);
  }
  if (outcome?.prompt_tokens != null && outcome.cached_tokens) {
    parts.push(`${number.format(outcome.cached_tokens)} of ${number.format(outcome.prompt_tokens)} prompt tokens remembered`);
  }
  if (outcome?.confidence != null) parts.push(`${Math.round(outcome.confidence * 100)} % sure`);
  if (confidences?.values.length) {
    const guessed = confidences.values.filter((value) => value < 0.5).length;
    parts.push(`${number.format(guessed)} of ${count(confidences.values.length, "token")} below 50 %`);
  }
  if (outcome?.reading) parts.push(`read ${outcome.reading}`);
  if (parts.length === 0) return null;
  return <p class="outcome">{parts.join(" · ")}</p>;
}

function count(value: number, name: string): string {
  return `${number.format(value)} ${name}${value === 1 ? "" : "s"}`;
}
