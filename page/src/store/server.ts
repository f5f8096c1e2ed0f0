// What the server is and has, and whether it answers.

import { computed, signal } from "@preact/signals";

import * as api from "../server/api.ts";
import { asFailure, type FailureData } from "../server/failure.ts";
import type { Ability, ModelInfo, Status } from "../server/types.ts";
import { settings } from "./settings.ts";

export const server = signal<Status | null>(null);
export const serverFailure = signal<FailureData | null>(null);

/** Whether the dialog for the key is open, and what is to happen once it is given. */
export const keyAsked = signal<{ wrong: boolean; then: () => void } | null>(null);

export function askKey(then: () => void): void {
  keyAsked.value = { wrong: api.key() !== null, then };
}

const PAUSE = 5000; // milliseconds until a server that is away is asked again
let next: ReturnType<typeof setTimeout> | undefined;

export async function refresh(): Promise<void> {
  clearTimeout(next);
  try {
    server.value = await api.status();
    serverFailure.value = null;
  } catch (error) {
    const { data } = asFailure(error);
    serverFailure.value = data;
    if (data.kind === "key" && !keyAsked.value) askKey(() => void refresh());
    if (data.kind === "offline") next = setTimeout(() => void refresh(), PAUSE);
  }
}

export const chatModels = computed(() => withAbility("chat"));

function withAbility(ability: Ability): ModelInfo[] {
  return (server.value?.models ?? []).filter((model) => model.abilities.includes(ability));
}

export function hearing(): ModelInfo | undefined {
  const models = withAbility("transcribe");
  return models.find((model) => model.loaded) ?? models[0];
}

/** The model that answers: the wanted one, if it is there, else the one used last, else the default. */
export function pickModel(wanted: string | null): ModelInfo | undefined {
  const models = chatModels.value;
  for (const id of [wanted, settings.value.model]) {
    const found = models.find((model) => model.id === id);
    if (found) return found;
  }
  return models.find((model) => model.default) ?? models[0];
}
