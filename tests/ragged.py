"""Texts of varying length for tests: rows, an `encode` that fills up to the longest of its batch, and a small net."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LETTERS = 32


class Reader(nn.Module):
    """One layer of attention over letters, the mean of what is no filling, and three outputs."""

    def __init__(self, width: int = 16, outputs: int = 3) -> None:
        super().__init__()
        self.letters, self.qkv = nn.Embedding(LETTERS, 16), nn.Linear(16, 48)
        self.body = nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 16))
        self.out = nn.Linear(16, outputs)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.letters(ids)
        q, k, v = (t.unflatten(2, (2, 8)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=(mask > 0)[:, None, None, :])
        x = x + seen.transpose(1, 2).flatten(2)
        x = x + self.body(x)
        weight = mask[..., None].float()
        out: Tensor = self.out((x * weight).sum(1) / weight.sum(1).clamp_min(1))
        return out


def encode(texts: Sequence[str]) -> dict[str, Tensor]:
    rows = [torch.tensor([ord(c) % LETTERS for c in one], dtype=torch.long) for one in texts]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.arange(ids.shape[1])[None] < torch.tensor([len(row) for row in rows])[:, None]
    return {"mask": mask.long(), "ids": ids}


def texts(n: int, least: int = 1, most: int = 40, seed: int = 0) -> list[str]:
    """Return texts of these lengths; the shortest and the longest are among them."""
    pick = random.Random(seed)
    lengths = [least, most, *(pick.randint(least, most) for _ in range(n - 2))][:n]
    pick.shuffle(lengths)
    return ["".join(pick.choice("abcdefghij ") for _ in range(length)) for length in lengths]
