// Dictation: the microphone's samples go over a WebSocket, in the shape of OpenAI's realtime
// transcription, and words come back while one speaks.

import { address, key } from "../server/api.ts";
import workletUrl from "./worklet.ts?worker&url";

const RATE = 24_000; // samples a second, as the interface has it

export interface Heard {
  /** All that was understood so far. */
  text: (text: string) => void;
  level: (loudest: number) => void;
  ended: (failure: string | null) => void;
}

interface RealtimeEvent {
  type: string;
  item_id?: string;
  delta?: string;
  transcript?: string;
  error?: { message?: string };
}

export class Dictation {
  private readonly heard: Heard;
  private readonly socket: WebSocket;
  private readonly stream: MediaStream;
  private readonly context: AudioContext;
  private readonly items = new Map<string, string>();
  /** What was said and is not written down yet. */
  private readonly pending = new Set<string>();
  private stopping = false;
  /** After the end, whether the server has taken the last of it. */
  private flushed = false;
  private over = false;
  private sent = 0;

  static async start(model: string, heard: Heard): Promise<Dictation> {
    const stream = await microphone();
    const context = new AudioContext({ sampleRate: RATE });
    try {
      await context.audioWorklet.addModule(workletUrl);
      return new Dictation(model, heard, stream, context);
    } catch (error) {
      for (const track of stream.getTracks()) track.stop();
      await context.close();
      throw error;
    }
  }

  private constructor(model: string, heard: Heard, stream: MediaStream, context: AudioContext) {
    this.heard = heard;
    this.stream = stream;
    this.context = context;
    const url = address("v1/realtime?intent=transcription");
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(url, protocols());
    this.socket.onopen = () => {
      this.say({
        type: "session.update",
        session: {
          type: "transcription",
          audio: {
            input: { format: { type: "audio/pcm", rate: RATE }, transcription: { model } },
          },
        },
      });
      this.record();
    };
    this.socket.onmessage = ({ data }) => this.take(JSON.parse(String(data)) as RealtimeEvent);
    this.socket.onclose = () => this.end(this.stopping ? null : "The connection for dictation ended.");
  }

  /** No more sound; what was said is still transcribed. */
  stop(): void {
    if (this.stopping) return;
    this.stopping = true;
    this.silence();
    if (this.socket.readyState === WebSocket.OPEN && this.sent > 0) {
      this.say({ type: "input_audio_buffer.commit" });
      // The last words come with the end of their item; a server that is stuck does not hold us.
      setTimeout(() => this.end(null), 30_000);
    } else {
      this.end(null);
    }
  }

  private record(): void {
    const source = this.context.createMediaStreamSource(this.stream);
    const recorder = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0, channelCount: 1 });
    recorder.port.onmessage = ({ data }) => {
      if (this.stopping || this.socket.readyState !== WebSocket.OPEN) return;
      const { samples, loudest } = data as { samples: Int16Array; loudest: number };
      this.say({ type: "input_audio_buffer.append", audio: base64(new Uint8Array(samples.buffer)) });
      this.sent += samples.length;
      this.heard.level(loudest);
    };
    source.connect(recorder);
  }

  private take(event: RealtimeEvent): void {
    const { item_id: item = "", type } = event;
    const kind = type.replace("conversation.item.input_audio_transcription.", "");
    if (type === "input_audio_buffer.committed") {
      this.pending.add(item);
      if (this.stopping) this.flushed = true;
    } else if (kind === "delta") {
      this.items.set(item, (this.items.get(item) ?? "") + (event.delta ?? ""));
    } else if (kind === "completed") {
      this.items.set(item, event.transcript ?? "");
      this.pending.delete(item);
    } else if (type === "error" && this.stopping) {
      this.flushed = true; // nothing was left to commit
    } else if (type === "error" || kind === "failed") {
      return this.end(event.error?.message ?? "The server could not transcribe this.");
    } else {
      return;
    }
    const parts = [...this.items.values()].map((part) => part.trim()).filter(Boolean);
    this.heard.text(parts.join(" "));
    if (this.flushed && this.pending.size === 0) this.end(null);
  }

  private silence(): void {
    for (const track of this.stream.getTracks()) track.stop();
    void this.context.close().catch(() => undefined);
  }

  private end(failure: string | null): void {
    if (this.over) return;
    this.over = true;
    this.stopping = true;
    this.silence();
    this.socket.close();
    this.heard.ended(failure);
  }

  private say(event: object): void {
    this.socket.send(JSON.stringify(event));
  }
}

async function microphone(): Promise<MediaStream> {
  if (!navigator.mediaDevices) {
    throw new Error("Browsers give a microphone only to pages of this machine (localhost) or over https.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  } catch (error) {
    const name = error instanceof DOMException ? error.name : "";
    if (name === "NotAllowedError") throw new Error("The browser does not allow the microphone for this page.");
    if (name === "NotFoundError") throw new Error("There is no microphone.");
    throw error;
  }
}

function protocols(): string[] {
  const secret = key();
  if (!secret) return ["realtime"];
  const coded = base64(new TextEncoder().encode(secret));
  return ["realtime", `cactus-key.${coded.replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "")}`];
}

function base64(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  }
  return btoa(text);
}
