"""A question to a cloud, asked as a call of a model does."""

from __future__ import annotations

import threading
import time
from typing import Any

from cactus import Cloud
from cactus.chat.messages import parse_messages
from cactus.cloud.exchange import Exchange
from cactus.generate.elsewhere import Reply
from cactus.generate.options import Options

TOOLS = [
    {"name": "weather", "parameters": {"type": "object", "properties": {"city": {}}}},
    {"type": "function", "function": {"name": "clock", "description": "The time."}},
]
HELLO = [{"role": "user", "content": "Hello"}]


def begin(
    cloud: Cloud, messages: Any = HELLO, *, streamed: bool = False, **options: Any
) -> tuple[Exchange, threading.Event]:
    news = threading.Event()
    exchange = cloud.asker.ask(
        parse_messages(messages), Options(**options), streamed=streamed, wake=news.set
    )
    exchange.start()
    return exchange, news


def ended(exchange: Exchange, news: threading.Event) -> tuple[str, Reply]:
    text = ""
    deadline = time.monotonic() + 20
    while exchange.reply is None:
        assert time.monotonic() < deadline, "no reply"
        news.wait(0.5)
        news.clear()
        text += exchange.take()
    reply = exchange.reply
    text += exchange.take()
    exchange.close()
    return text, reply


def asked(cloud: Cloud, messages: Any = HELLO, **options: Any) -> tuple[str, Reply]:
    return ended(*begin(cloud, messages, **options))
