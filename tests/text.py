"""A real text, letter by letter, and a tiny GPT-2 that reads the last of them: the pipeline `TEXT`."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from compressors.recipe import Recipe
from deploy.pipeline import Labelled
from learners.evaluation.gate import Promotion
from learners.tasks.next_token import NextToken
from shadowstream import Intercept, Online
from tests import small

BOOK = " ".join(
    re.findall("[a-z]+", (Path(__file__).parents[1] / "docs" / "join.md").read_text(encoding="utf-8").lower())
)
LETTERS = "".join(sorted({*BOOK}))
SEEN = 12  # letters


class Typed(msgspec.Struct):
    text: str


class Writer(nn.Module):
    def __init__(self) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel  # noqa: PLC0415 it takes seconds

        super().__init__()
        sizes: dict[str, Any] = {"vocab_size": len(LETTERS), "n_positions": SEEN, "n_embd": 32}
        config = GPT2Config(
            **sizes,
            n_layer=1,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
            use_cache=False,
            initializer_range=0.2,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
        self.lm = GPT2LMHeadModel(config)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.lm(input_ids=ids).logits[:, -1]
        return logits


def spelled(text: str) -> list[int]:
    return [LETTERS.find(letter) for letter in text]


def read(rows: Sequence[Typed]) -> tuple[Tensor]:
    return (torch.tensor([spelled(row.text) for row in rows]),)


def at(place: int) -> tuple[Typed, str]:
    """Return what was typed up to a place of the book, and what followed."""
    return Typed(BOOK[place : place + SEEN]), BOOK[place + SEEN : place + SEEN + 3]


def typed(rng: np.random.Generator) -> tuple[Typed, str]:
    return at(int(rng.integers(len(BOOK) - SEEN - 3)))


def history() -> Iterator[Labelled]:
    return (Labelled(*at(place)) for place in range(0, 320, 2))


PIPELINE = replace(
    small.pipeline, name="text", features=Typed, encode=read, model=Writer, history=history, live=Intercept(),
    task=NextToken(tuple(LETTERS), tokenize=spelled), recipe=Recipe.parse("quantize(int8) -> distill"),
    promotion=Promotion(every_days=1),
    online=Online(learning_rate=3e-3, batch=16, half_life=500, replay=200, history_passes=1, history_batch=16),
)  # fmt: skip
