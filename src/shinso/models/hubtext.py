"""Any text network of transformers that reads only, as a reader: `hf:FOLDER` or `hf:ORGANISATION/NAME`.

Its tokenizer lies beside its weights (`columns/published.py`). The extra `hub`, imported on use; what the
network is, is kept with the run, and code of a hub is never run (`hub.py`).

B rows, N tokens, D width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..columns.text import Text
from ..config import ModelConfig
from ..errors import SettingError
from ..features import Features
from ..layers.attentionpool import AttentionPool
from .base import Encoder, Published
from .bert import READ
from .hub import configuration, converted, transformers_library

# Families whose places are counted from behind the number of the padding (RoBERTa: Liu et al. 2019).
LATER = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "data2vec-text")


class HubText(Encoder):
    """int32 ids (B, N) -> Features (B, N, D); tokens past the last position are not read."""

    def __init__(self, column: Text, options: ModelConfig) -> None:
        super().__init__(column, options)
        assert options.name is not None
        facts = json.loads(options.hub) if options.hub else json.loads(configuration(options)["hub"])
        stored = {key: value for key, value in facts["config"].items() if key != "auto_map"}
        check(stored, column, options.name)
        library = transformers_library()
        config = library.AutoConfig.for_model(stored.pop("model_type", ""), **stored)
        if options.dropout is not None:
            config.hidden_dropout_prob = config.attention_probs_dropout_prob = options.dropout
        self.body = library.AutoModel.from_config(config, trust_remote_code=False)
        self.offset, self.padding = column.offset, int(config.pad_token_id or 0)
        self.positions = positions_of(config)
        self.width = int(config.hidden_size)
        if options.pooling == "attention":
            layers = min(READ, int(config.num_hidden_layers))
            self.readout = AttentionPool(layers * self.width)
            self.width = self.readout.width

    def published(self) -> Published:
        return Published(self.body, {"hf": self._bare, "older hf": lambda s: converted(self.body, s)})

    def forward(self, ids_BN: Tensor) -> Features:
        if self.readout:
            return self.readout(self.states(ids_BN))
        made, mask_BN = self._read(ids_BN, states=False)
        return Features(made.last_hidden_state, mask_BN)

    def states(self, ids_BN: Tensor) -> Features:
        """The last layers side by side."""
        made, mask_BN = self._read(ids_BN, states=True)
        return Features(torch.cat(made.hidden_states[1:][-READ:], -1), mask_BN)

    def _read(self, ids_BN: Tensor, *, states: bool) -> tuple[Any, Tensor]:
        ids_BN = ids_BN[:, : self.positions].long()
        mask_BN = ids_BN > 0
        theirs_BN = torch.where(mask_BN, ids_BN - self.offset, self.padding)
        seen_BN = mask_BN | ~mask_BN.any(1, keepdim=True)  # attention over no token at all is not a number
        made = self.body(theirs_BN, attention_mask=seen_BN.long(), output_hidden_states=states)
        return made, mask_BN

    def _bare(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The network without the prefix, and without the heads, that other classes of its family have."""
        prefix = f"{self.body.base_model_prefix}."
        inner = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
        return inner if len(prefix) > 1 and inner else dict(state)


def check(config: Mapping[str, Any], column: Text, name: str) -> None:
    """Raise `SettingError` where a network does not read the tokens of a column."""
    if "vocab_size" not in config or config.get("is_encoder_decoder"):
        what = "writes as well as it reads" if config.get("is_encoder_decoder") else "reads no texts"
        raise SettingError(
            f"{name!r} {what}; column {column.name!r} is text. Choose a network that gives states of a text "
            f"(BERT, RoBERTa, DeBERTa, ...), or another model: `shinso models` lists those that come along."
        )
    if not column.tokenizer:
        raise SettingError(
            f"{name!r} needs its own tokenizer. Put tokenizer.json or vocab.txt beside its weights "
            f"(model.safetensors), or name it with --set data.tokenizer=FILE."
        )
    tokens = len(column.tokens) - column.offset
    known = int(config["vocab_size"])
    if tokens > known:
        raise SettingError(
            f"{name!r} knows {known:,} tokens, and the tokenizer of column {column.name!r} has "
            f"{tokens:,}: it belongs to another network. Name the right one with --set data.tokenizer=FILE."
        )


def positions_of(config: Any) -> int:
    """How many tokens of a text a network can read."""
    most = int(getattr(config, "max_position_embeddings", 0) or 1 << 20)
    return most - int(config.pad_token_id or 0) - 1 if config.model_type in LATER else most
