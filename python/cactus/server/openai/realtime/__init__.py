"""``/v1/realtime``: what is being said, over a WebSocket, in OpenAI's transcription events."""
