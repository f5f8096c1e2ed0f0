// In the audio thread: samples of the microphone as 16-bit numbers, a tenth of a second at a time.

declare const sampleRate: number;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, made: typeof AudioWorkletProcessor): void;

class Recorder extends AudioWorkletProcessor {
  private block = new Int16Array(Math.round(sampleRate / 10));
  private filled = 0;
  private loudest = 0;

  process(inputs: Float32Array[][]): boolean {
    const samples = inputs[0]?.[0];
    if (!samples) return true;
    for (const sample of samples) {
      const value = Math.max(-1, Math.min(1, sample));
      this.loudest = Math.max(this.loudest, Math.abs(value));
      this.block[this.filled++] = Math.round(value * 32767);
      if (this.filled === this.block.length) this.send();
    }
    return true;
  }

  private send(): void {
    const { block, loudest } = this;
    this.block = new Int16Array(block.length);
    this.filled = 0;
    this.loudest = 0;
    this.port.postMessage({ samples: block, loudest }, [block.buffer]);
  }
}

registerProcessor("recorder", Recorder);
