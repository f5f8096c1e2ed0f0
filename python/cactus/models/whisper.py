"""Whisper (Radford et al. 2022): an encoder of log-mel frames, a decoder of text and timestamps."""

from __future__ import annotations

from dataclasses import dataclass

from cactus.inputs.fields import Fields

from .. import nn
from . import base

ABILITIES = ("transcribe", "detect_language", "embed_audio")

FRAMES_PER_ROW = 2
"""Mel frames of one row of features: the encoder's second convolution halves their rate."""


@dataclass(frozen=True)
class Config:
    """Sizes of encoder and decoder; ``source_positions`` rows of features are 30 seconds."""

    model_type: str
    vocab_size: int
    hidden_size: int
    mel_bins: int
    encoder_layers: int
    encoder_heads: int
    encoder_ffn: int
    decoder_layers: int
    decoder_heads: int
    decoder_ffn: int
    source_positions: int
    context_length: int
    tied: bool = True

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        """Read and check config.json; ModelFormatError or UnsupportedModel naming the key."""
        fields.choice("activation_function", ("gelu",), "gelu")
        fields.refuse("scale_embedding", "scaled embeddings are not supported")
        if not fields.flag("tie_word_embeddings", True):
            raise fields.error("tie_word_embeddings", "true", False)
        width = fields.integer("d_model", base.LANE, base.MAX_WIDTH, multiple=base.LANE)

        def heads(side: str) -> int:
            name = f"{side}_attention_heads"
            count = fields.integer(name, 1, base.MAX_HEADS)
            if width % (count * base.LANE):
                raise fields.error(name, f"heads of whole {base.LANE}s in {width}", count)
            return count

        def ffn(side: str) -> int:
            return fields.integer(f"{side}_ffn_dim", base.LANE, base.MAX_WIDTH, multiple=base.LANE)

        return cls(
            model_type="whisper",
            vocab_size=fields.integer("vocab_size", 1, base.MAX_VOCAB),
            hidden_size=width,
            mel_bins=fields.integer("num_mel_bins", 16, 1024, 80, multiple=16),
            encoder_layers=fields.integer("encoder_layers", 1, base.MAX_LAYERS),
            encoder_heads=heads("encoder"),
            encoder_ffn=ffn("encoder"),
            decoder_layers=fields.integer("decoder_layers", 1, base.MAX_LAYERS),
            decoder_heads=heads("decoder"),
            decoder_ffn=ffn("decoder"),
            source_positions=fields.integer("max_source_positions", 1, 8192, 1500),
            context_length=fields.integer("max_target_positions", 1, base.MAX_CONTEXT, 448),
        )


class EncoderLayer(nn.Module):
    """Attention of every position to all, then feed-forward, each on a normed copy."""

    def __init__(self, c: Config) -> None:
        self.self_attn = nn.SelfAttention(c.hidden_size, c.encoder_heads)
        self.self_attn_layer_norm = nn.LayerNorm(c.hidden_size)
        self.fc1 = nn.Linear(c.hidden_size, c.encoder_ffn, bias=True)
        self.fc2 = nn.Linear(c.encoder_ffn, c.hidden_size, bias=True)
        self.final_layer_norm = nn.LayerNorm(c.hidden_size)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(nn.gelu_erf(self.fc1(self.final_layer_norm(x))))


class Encoder(nn.Module):
    """Features to states ``[rows, hidden_size]``, 50 a second."""

    def __init__(self, c: Config) -> None:
        self.mel_bins = c.mel_bins
        self.conv1 = nn.FrameConv(c.mel_bins, c.hidden_size)
        self.conv2 = nn.FrameConv(c.hidden_size, c.hidden_size, stride=FRAMES_PER_ROW)
        self.embed_positions = nn.PositionEmbedding(c.source_positions, c.hidden_size)
        self.layers = [EncoderLayer(c) for _ in range(c.encoder_layers)]
        self.layer_norm = nn.LayerNorm(c.hidden_size)

    def forward(self) -> nn.Tensor:
        frames = nn.split(nn.features(FRAMES_PER_ROW * self.mel_bins), FRAMES_PER_ROW)
        (x,) = self.conv2.outputs([nn.gelu_erf(each) for each in self.conv1.outputs(frames)])
        x = self.embed_positions(nn.gelu_erf(x))
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(x)


class DecoderLayer(nn.Module):
    """Causal attention, attention to what was heard, feed-forward, each on a normed copy."""

    def __init__(self, c: Config) -> None:
        self.self_attn = nn.CausalAttention(c.hidden_size, c.decoder_heads)
        self.self_attn_layer_norm = nn.LayerNorm(c.hidden_size)
        self.encoder_attn = nn.MemoryAttention(c.hidden_size, c.decoder_heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(c.hidden_size)
        self.fc1 = nn.Linear(c.hidden_size, c.decoder_ffn, bias=True)
        self.fc2 = nn.Linear(c.decoder_ffn, c.hidden_size, bias=True)
        self.final_layer_norm = nn.LayerNorm(c.hidden_size)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        x = x + self.encoder_attn(self.encoder_attn_layer_norm(x))
        return x + self.fc2(nn.gelu_erf(self.fc1(self.final_layer_norm(x))))


class Decoder(nn.Module):
    """Tokens to hidden states of the output rows."""

    def __init__(self, c: Config) -> None:
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.embed_positions = nn.PositionEmbedding(c.context_length, c.hidden_size)
        self.layers = [DecoderLayer(c) for _ in range(c.decoder_layers)]
        self.layer_norm = nn.LayerNorm(c.hidden_size)

    def forward(self) -> nn.Tensor:
        x = self.embed_positions(self.embed_tokens())
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(nn.output_rows(x))


class Model(nn.Module):
    """What lies under ``model.`` in a checkpoint."""

    def __init__(self, c: Config) -> None:
        self.encoder = Encoder(c)
        self.decoder = Decoder(c)


class Whisper(nn.Module):
    """Both halves; the head is the decoder's embedding once more."""

    def __init__(self, c: Config) -> None:
        self.model = Model(c)

    def forward(self) -> nn.Tensor:
        """The decoder: logits of tokens that attend to the memory."""
        return self.model.decoder.embed_tokens.as_linear(self.model.decoder(), "proj_out")

    def encode(self) -> nn.Tensor:
        """The encoder: its states, which also become the memory of the decoder's layers."""
        states = self.model.encoder()
        for layer in self.model.decoder.layers:
            layer.encoder_attn.remember(states)
        return nn.output_rows(states)


def build(c: Config) -> nn.Module:
    """The model for a config, not yet traced."""
    return Whisper(c)
