"""Right requests of the server: a few bodies of each endpoint, events of a socket, paths."""

from __future__ import annotations

import base64
from typing import Any

from tests.chat.calls.reading import WEATHER

ASKED = [{"role": "user", "content": "Hello"}]
PART = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
TOOL = {"name": "get_weather", "description": "Weather", "parameters": WEATHER}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQ"
    "AAAABJRU5ErkJggg=="
)

BODIES: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {"messages": ASKED, "max_tokens": 2},
        {"messages": [*ASKED, {"role": "assistant", "content": "a"}, PART], "max_tokens": 2,
         "stream": True, "stream_options": {"include_usage": True}, "stop": ["x"], "n": 1,
         "temperature": 0.5, "top_p": 0.9, "seed": 1, "logit_bias": {"5": 1}, "user": "me"},
        {"messages": ASKED, "max_completion_tokens": 2, "logprobs": True, "top_logprobs": 2,
         "presence_penalty": 0.1, "frequency_penalty": 0.1, "metadata": {"a": "b"}},
        {"messages": ASKED, "max_tokens": 4, "tools": [{"type": "function", "function": TOOL}],
         "tool_choice": "auto", "parallel_tool_calls": False},
        {"messages": ASKED, "max_tokens": 9, "response_format": {"type": "json_schema",
         "json_schema": {"name": "x", "strict": True, "schema": {"type": "object"}}}},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url":
         {"url": PIXEL, "detail": "low"}}, {"type": "text", "text": "What?"}]}], "max_tokens": 2,
         "model": "tiny-vl"},
        {"messages": [*ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": "a",
         "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]},
         {"role": "tool", "tool_call_id": "a", "content": "5"}], "max_tokens": 2},
    ],
    "/v1/completions": [
        {"prompt": "Hello", "max_tokens": 2, "echo": True, "logprobs": 2, "best_of": 1},
        {"prompt": ["a", "b"], "max_tokens": 1, "stream": True, "n": 1},
        {"prompt": [[1, 2, 3], [4]], "max_tokens": 1, "stop": "y"},
    ],
    "/v1/responses": [
        {"input": "Hello", "max_output_tokens": 2, "store": False, "instructions": "Be brief."},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
         "max_output_tokens": 2, "stream": True, "tools": [{"type": "function", **TOOL}],
         "text": {"format": {"type": "text"}}, "reasoning": {"effort": "low"}},
        {"input": [{"type": "function_call_output", "call_id": "a", "output": "5"}],
         "previous_response_id": "resp_1", "max_output_tokens": 2},
    ],
    "/v1/responses/input_tokens": [{"input": "Hello"}],
    "/v1/messages": [
        {"messages": ASKED, "max_tokens": 2, "system": "Be brief.", "model": "tiny"},
        {"messages": [PART], "max_tokens": 2, "stream": True, "model": "tiny",
         "tools": [{"name": "f", "input_schema": WEATHER}], "tool_choice": {"type": "auto"},
         "thinking": {"type": "disabled"}, "stop_sequences": ["x"], "top_k": 3},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64",
         "media_type": "image/png", "data": PIXEL[22:]}}]}], "max_tokens": 2, "model": "tiny-vl"},
        {"messages": [*ASKED, {"role": "assistant", "content": [{"type": "tool_use", "id": "a",
         "name": "f", "input": {}}]}, {"role": "user", "content": [{"type": "tool_result",
         "tool_use_id": "a", "content": "5"}]}], "max_tokens": 2, "model": "tiny"},
    ],
    "/v1/messages/count_tokens": [{"messages": ASKED, "model": "tiny"}],
    "/v1/embeddings": [
        {"input": ["a", "b"], "encoding_format": "base64", "model": "bert"},
        {"input": [[1, 2], [3]], "model": "bert", "user": "me", "own_tokens": True},
        {"input": "a", "dimensions": 32, "encoding_format": "float"},
    ],
    "/rerank": [{"query": "a", "documents": ["b", {"text": "c"}], "top_n": 1,
                 "model": "bert_ranker", "return_documents": True}],
    "/v2/rerank": [{"query": "a", "documents": ["b", "c"], "model": "bert_ranker"}],
    "/api/chat": [
        {"model": "tiny", "messages": ASKED, "options": {"num_predict": 2}, "stream": False},
        {"model": "tiny", "messages": ASKED, "options": {"num_predict": 9, "stop": ["x"]},
         "format": {"type": "object"}, "keep_alive": "5m", "think": False},
        {"model": "tiny-vl", "messages": [{"role": "user", "content": "a", "images": [PIXEL[22:]]}],
         "options": {"num_predict": 2, "temperature": 0.5, "seed": 1}, "logprobs": True},
    ],
    "/api/generate": [
        {"model": "tiny", "prompt": "a", "options": {"num_predict": 2}, "system": "b"},
        {"model": "tiny", "prompt": "a", "raw": True, "stream": False,
         "options": {"num_predict": 2}},
        {"model": "tiny-vl", "prompt": "a", "images": [PIXEL[22:]], "options": {"num_predict": 2}},
        {"model": "tiny", "prompt": "a", "suffix": "b", "context": [1, 2]},
    ],
    "/api/embed": [{"model": "bert", "input": ["a"], "truncate": True}],
    "/api/embeddings": [{"model": "bert", "prompt": "a"}],
    "/api/show": [{"model": "tiny", "verbose": True}],
    "/tokenize": [{"content": "Hello", "add_special": True, "with_pieces": True}],
    "/detokenize": [{"tokens": [1, 2, 3]}],
    "/v1/realtime/client_secrets": [{"expires_after": {"anchor": "created_at", "seconds": 60}}],
}  # fmt: skip
EVENTS: list[Any] = [
    {"type": "session.update", "session": {"type": "transcription", "audio": {"input": {
     "format": {"type": "audio/pcm", "rate": 24_000}, "turn_detection": None}}}},
    {"type": "session.update", "session": {"type": "transcription", "audio": {"input": {
     "format": {"type": "audio/pcmu"}, "noise_reduction": None, "transcription": {"language": "en",
     "prompt": "x"}, "turn_detection": {"type": "server_vad", "threshold": 0.5,
     "prefix_padding_ms": 300, "silence_duration_ms": 200}}}}},
    {"type": "transcription_session.update", "session": {"input_audio_format": "g711_alaw",
     "input_audio_transcription": {"model": "whisper-1"}, "turn_detection": None}},
    {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(24_000)).decode()},
    {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(4800)).decode()},
    {"type": "input_audio_buffer.commit"}, {"type": "input_audio_buffer.clear"},
    {"type": "response.create"}, {"type": "conversation.item.create", "item": {}},
]  # fmt: skip
PATHS = (
    *(
        "GET /v1/models/tiny",
        "GET /v1/responses/resp_1/input_items?limit=2&order=asc",
        "GET /metrics",
    ),
    *("DELETE /v1/responses/resp_1", "GET /v1/responses/resp_1?stream=true", "GET /openapi.json"),
    *("POST /v1/responses/resp_1/cancel", "GET /cactus/documents/1", "GET /cactus/status"),
    *("POST /api/blobs/sha256:00", "GET /api/tags", "GET /cactus/running", "GET /"),
)
