"""Structured pruning of transformers: heads and feed-forward rows go, and what they share goes with them."""

import pytest
import torch

from tests.pruned import pruned

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 50, "num_labels": 3}
TOKENS = (torch.arange(1, 15).view(2, 7), torch.tensor([[1] * 7, [1] * 4 + [0] * 3]))  # with padding


def test_bert_loses_heads_and_feed_forward_rows() -> None:
    hf = pytest.importorskip("transformers")
    config = hf.BertConfig(**SMALL, intermediate_size=64)
    model, report = pruned(lambda: hf.BertForSequenceClassification(config), TOKENS)
    cuts = {cut.layer: (cut.unit, cut.before, cut.after) for cut in report.layers}
    for i in (0, 1):
        layer = f"bert.encoder.layer.{i}"
        assert cuts[f"{layer}.attention.self"] == ("heads", 4, 2)
        assert cuts[f"{layer}.intermediate.dense"] == ("neurons", 64, 32)
        assert model.get_parameter(f"{layer}.attention.self.query.weight").shape == (16, 32)
        assert model.get_parameter(f"{layer}.attention.output.dense.weight").shape == (32, 16)
        assert f"{layer}.output.dense" in report.left
    assert "classifier" in report.left


def test_llama_loses_keys_with_the_queries_that_share_them_and_gates_with_what_they_gate() -> None:
    hf = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 50}
    config = hf.LlamaConfig(**sizes, num_attention_heads=8, num_key_value_heads=4)
    model, report = pruned(lambda: hf.LlamaForCausalLM(config), TOKENS)
    cuts = {cut.layer.split(".", 3)[-1]: (cut.unit, cut.before, cut.after) for cut in report.layers}
    assert cuts == {
        "self_attn": ("heads", 4, 2),
        **dict.fromkeys(["mlp.gate_proj", "mlp.up_proj"], ("neurons", 64, 32)),
    }
    shape = {name.split(".")[-2]: tuple(p.shape) for name, p in model.named_parameters()}
    assert (shape["q_proj"], shape["k_proj"], shape["o_proj"]) == ((16, 32), (8, 32), (32, 16))


def test_distilbert_does_too() -> None:
    hf = pytest.importorskip("transformers")
    config = hf.DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64, vocab_size=50, num_labels=3)
    _, report = pruned(lambda: hf.DistilBertForSequenceClassification(config), TOKENS)
    assert [cut.unit for cut in report.layers].count("heads") == 2


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_gpt2_loses_heads_and_feed_forward_rows(kind: str) -> None:
    hf = pytest.importorskip("transformers")
    config = hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=50, n_positions=16, attn_implementation=kind)
    model, report = pruned(lambda: hf.GPT2LMHeadModel(config), TOKENS[:1])
    cuts = {cut.layer: (cut.unit, cut.before, cut.after) for cut in report.layers}
    assert cuts["transformer.h.0.attn"] == ("heads", 4, 2)
    assert cuts["transformer.h.1.mlp.c_fc"] == ("neurons", 128, 64)
    assert model.get_parameter("transformer.h.0.attn.c_attn.weight").shape == (32, 48)
    assert "transformer.wte" in report.left["lm_head"]
