"""``/v1/responses``: OpenAI's other form of a chat, which may be kept and gone on with."""
