"""Attention among the tokens of a row, with the weights of `nn.MultiheadAttention`.

B rows, N tokens, H heads, D width, K channels of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW = 512  # tokens, up to which batched products beat torch's blockwise attention on a CPU (docs/log.md)


def attend(weights: nn.MultiheadAttention, x_BND: Tensor) -> Tensor:
    """(B, N, D) -> (B, N, D): what `weights(x, x, x)` gives, in two fifths of its time for few tokens on a
    CPU."""
    heads, size = weights.num_heads, x_BND.shape[-1] // weights.num_heads
    projected = F.linear(x_BND, weights.in_proj_weight, weights.in_proj_bias)
    parts = projected.unflatten(-1, (3, heads, size)).permute(2, 0, 3, 1, 4)
    if x_BND.device.type != "cpu" or x_BND.shape[1] > FEW:
        q_BHNK, k_BHNK, v_BHNK = parts.unbind(0)
        mixed_BHNK = F.scaled_dot_product_attention(q_BHNK, k_BHNK, v_BHNK)
    else:
        q, k, v = parts.contiguous().flatten(1, 2).unbind(0)
        share = torch.softmax(torch.bmm(q * size**-0.5, k.transpose(1, 2)), -1)
        mixed_BHNK = torch.bmm(share.to(v.dtype), v).unflatten(0, (-1, heads))
    out: Tensor = weights.out_proj(mixed_BHNK.transpose(1, 2).flatten(2))
    return out


def seen(
    query_BHNK: Tensor, key_BHNK: Tensor, value_BHNK: Tensor, mask_B11N: Tensor, *, training: bool
) -> Tensor:
    """(B, H, N, K): `scaled_dot_product_attention`; in training on few tokens by products, for the gradient
    of the blockwise kernel takes a third of a step on a CPU.
    """
    if not training or query_BHNK.device.type != "cpu" or query_BHNK.shape[2] > FEW:
        return F.scaled_dot_product_attention(query_BHNK, key_BHNK, value_BHNK, mask_B11N)
    rows = query_BHNK.shape[:2]
    query, key, value = (part.flatten(0, 1) for part in (query_BHNK, key_BHNK, value_BHNK))
    score_BHNN = torch.bmm(query * query.shape[-1] ** -0.5, key.transpose(1, 2)).unflatten(0, rows)
    share_BHNN = score_BHNN.float().masked_fill(~mask_B11N, float("-inf")).softmax(-1)
    return torch.bmm(share_BHNN.to(value.dtype).flatten(0, 1), value).unflatten(0, rows)
