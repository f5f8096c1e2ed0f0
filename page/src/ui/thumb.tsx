// A picture, drawn small; pressed, it is shown large.

import { useEffect, useRef, useState } from "preact/hooks";

import { draw } from "../store/pictures.ts";
import { Dialog } from "./dialog.tsx";
import { Close } from "./icons.tsx";

interface Props {
  name: string;
  data: () => Promise<Blob | undefined>;
  remove?: () => void;
}

export function Thumb({ name, data, remove }: Props) {
  const [large, setLarge] = useState(false);
  return (
    <span class="thumb">
      <button type="button" class="picture" aria-label={`Show ${name}`} onClick={() => setLarge(true)}>
        <Drawing name={name} data={data} width={160} height={120} />
      </button>
      {remove && (
        <button type="button" class="remove" aria-label={`Remove ${name}`} onClick={remove}>
          <Close />
        </button>
      )}
      {large && (
        <Dialog title={name} close={() => setLarge(false)} wide>
          <div class="large">
            <Drawing name={name} data={data} width={innerWidth * 0.85} height={innerHeight * 0.75} />
          </div>
        </Dialog>
      )}
    </span>
  );
}

function Drawing(props: { name: string; data: () => Promise<Blob | undefined>; width: number; height: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [gone, setGone] = useState(false);
  useEffect(() => {
    void (async () => {
      const blob = await props.data();
      if (!blob) setGone(true);
      else if (canvas.current) await draw(canvas.current, blob, props.width, props.height);
    })().catch(() => setGone(true));
  }, []);
  if (gone) return <span class="gone">{props.name}: not in this browser any more</span>;
  return <canvas ref={canvas} role="img" aria-label={props.name} width={1} height={1} />;
}
