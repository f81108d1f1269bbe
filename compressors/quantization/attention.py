"""`nn.MultiheadAttention` compressed: its projections are quantized, the attention between them stays in float.

Owns how attention is computed with compressed projections. Shapes: N samples, L queries, S keys, H heads, E features.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.internals import is_batched
from compressors.quantization.int8_weight import in_float
from compressors.quantization.layers import ShadowRows


class ShadowMultiheadAttention(ShadowRows, nn.MultiheadAttention):
    """Attention that answers as torch's own does, with the weights as served; `out_proj` is a layer of its own.

    If query, key and value share one packed weight (3E, E), each distinct tensor among them is multiplied by the whole
    weight: self-attention takes one product, and cross-attention computes more than it uses. `kernels` holds the module
    that replaces a weight when the model is served, by the weight's name.
    """

    kernels: nn.ModuleDict

    def begin(self, *args: Any, **named: Any) -> None:
        """Become compressed, as every layer does, with no kernels yet."""
        super().begin(*args, **named)
        self.kernels = nn.ModuleDict()

    def weight_names(self) -> tuple[str, ...]:
        """Return the name of the one packed weight (3E, E), or of the three of query, key and value."""
        return ("in_proj_weight",) if self._qkv_same_embed_dim else ("q_proj_weight", "k_proj_weight", "v_proj_weight")

    def bias_of(self, name: str) -> Tensor | None:
        """Return the part of the bias that belongs to a weight, None if there is no bias."""
        if self.in_proj_bias is None:
            return None
        names = self.weight_names()
        return self.in_proj_bias.chunk(len(names))[names.index(name)]

    def serve(self, name: str, kernel: nn.Module) -> None:
        """Let a kernel multiply by a weight; the layer's weight is now the kernel's."""
        self.kernels[name] = kernel
        self.register_parameter(name, cast(nn.Parameter, kernel.weight))

    def forget_served(self) -> None:
        """Remove the weights that kernels have."""
        for name in self.kernels:
            self.register_parameter(name, None)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        in_float(self, destination, prefix, keep_vars)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the outputs, shaped as the query, and the attention weights if asked for.

        `is_causal` only states that `attn_mask` is causal; it changes nothing.

        Raises:
            ValueError: a nested tensor, or `is_causal` without its mask.
        """
        if query.is_nested or key.is_nested or value.is_nested:
            raise ValueError("a compressed MultiheadAttention takes no nested tensor: pad it, with a key_padding_mask")
        if is_causal and attn_mask is None:
            raise ValueError("is_causal says what attn_mask is, so there must be one")
        batched = is_batched(query, key, value, key_padding_mask, attn_mask, self.num_heads)
        q, k, v = (self._by_head(t, batched) for t in self._projected(query, key, value))
        mask = self._added(attn_mask, key_padding_mask, q, k)
        k, v = self._lengthened(k, self.bias_k), self._lengthened(v, self.bias_v)
        if mask is not None:
            mask = F.pad(mask, (0, k.shape[2] - mask.shape[3]))
        out, shares = self._attended(q, k, v, mask, need_weights)
        out = self.out_proj(out.transpose(1, 2).flatten(2))
        if not batched:
            out = out.squeeze(0)
        elif not self.batch_first:
            out = out.transpose(0, 1)
        if shares is not None:
            shares = shares.mean(1) if average_attn_weights else shares
            shares = shares if batched else shares.squeeze(0)
        return out, shares

    def _projected(self, *inputs: Tensor) -> list[Tensor]:
        """Return queries, keys and values in their inputs' layout, (..., E) each."""
        names = self.weight_names()
        if len(names) == len(inputs):
            return [self._product(x, name) for x, name in zip(inputs, names, strict=True)]
        products = {key: self._product(x, *names) for key, x in {id(x): x for x in inputs}.items()}
        return [products[id(x)].chunk(3, -1)[i] for i, x in enumerate(inputs)]

    def _product(self, x: Tensor, name: str) -> Tensor:
        return self.kernels[name](x) if name in self.kernels else self.product(x, name, self.bias_of(name))

    def _by_head(self, t: Tensor, batched: bool) -> Tensor:
        """Return (N, H, L, E / H); N is 1 for a sample without a batch dimension."""
        t = t.reshape(*t.shape[:-1], self.num_heads, self.head_dim)
        if not batched:
            t = t.unsqueeze(0)
        elif not self.batch_first:
            t = t.transpose(0, 1)
        return t.transpose(1, 2)

    def _added(self, attention: Tensor | None, padding: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
        """Return what both masks add to the scores, in a shape that broadcasts to (N, H, L, S)."""
        rows, heads, queries, keys = *q.shape[:3], k.shape[2]
        parts = []
        if attention is not None:
            each = () if attention.dim() == 2 else (rows * heads,)
            added = _as_float("attn_mask", attention, (*each, queries, keys), q)
            parts.append(added.view(rows if each else 1, heads if each else 1, queries, keys))
        if padding is not None:
            each = () if padding.dim() == 1 else (rows,)
            parts.append(_as_float("key_padding_mask", padding, (*each, keys), q).view(rows, 1, 1, keys))
        return sum(parts[1:], parts[0]) if parts else None

    def _lengthened(self, t: Tensor, bias: Tensor | None) -> Tensor:
        """Append the learned key or value, and the one of zeros, if there are any: (N, H, S + 0 to 2, E / H)."""
        more = [] if bias is None else [bias.view(1, self.num_heads, 1, -1).expand(len(t), -1, -1, -1)]
        more += [torch.zeros_like(t[:, :, :1])] if self.add_zero_attn else []
        return torch.cat([t, *more], 2) if more else t

    def _attended(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        dropout = self.dropout if self.training else 0.0
        if not need_weights:
            return F.scaled_dot_product_attention(q, k, v, mask, dropout), None
        scores = (q * self.head_dim**-0.5) @ k.transpose(-2, -1)
        shares = F.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
        return shares @ v, shares


def _as_float(name: str, mask: Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return a mask as numbers to add; a bool mask is True where nothing is attended to.

    Raises:
        ValueError: the mask is neither bool nor float, or does not have this shape.
    """
    if mask.shape != shape or not (mask.is_floating_point() or mask.dtype == torch.bool):
        raise ValueError(f"{name} is bool or float of shape {shape}, got {mask.dtype} of {tuple(mask.shape)}")
    if mask.is_floating_point():
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, -torch.inf)
