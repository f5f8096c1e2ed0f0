"""A picture, two questions about it, and how alike pictures are."""

import sys

from PIL import Image, ImageDraw

from cactus import Model

MODEL = sys.argv[1] if len(sys.argv) > 1 else "lfm2-vl-450m"


def draw(colour: str) -> Image.Image:
    """A circle on white; a path, bytes, a NumPy array or a `data:` URL is an image, too."""
    picture = Image.new("RGB", (256, 256), "white")
    ImageDraw.Draw(picture).ellipse((48, 48, 208, 208), fill=colour)
    return picture


with Model(MODEL) as model:
    talk = model.conversation(max_tokens=40)
    print(talk.chat("What is in this picture?", images=[draw("red")]))
    answer = talk.chat("Which colour has it?")
    print(answer)
    # The second question looks at nothing again.
    print(
        answer.metrics.encoded_tiles, "tiles encoded,", answer.metrics.prefill_tokens, "new tokens"
    )

    red, pink, blue = model.embed_image([draw(c) for c in ("red", "pink", "blue")], normalize=True)
    print(f"red and pink {red @ pink:.2f}, red and blue {red @ blue:.2f}")
