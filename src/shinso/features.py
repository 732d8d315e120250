"""The one shape that passes from encoders to heads. B = rows, N = tokens, K = members, D = token size."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Features(NamedTuple):
    """What an encoder or a fuser gives.

    `tokens` (B, N, D); `mask` (B, N), True where the token is real; `maps` a tuple of (B, C, H, W), fine to
    coarse, which only dense heads read. Where `members` is True the tokens are no sequence: they are the N
    independent members of an ensemble (TabM), which heads score one by one and average after the softmax.
    """

    tokens: Tensor
    mask: Tensor
    maps: tuple[Tensor, ...] = ()
    members: bool = False

    @classmethod
    def of(
        cls,
        tokens: Tensor,
        mask: Tensor | None = None,
        maps: tuple[Tensor, ...] = (),
        *,
        members: bool = False,
    ) -> Features:
        """Features whose tokens are all real unless a mask says otherwise."""
        if mask is None:
            mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return cls(tokens, mask, maps, members)

    def pool(self) -> Tensor:
        """(B, K, D): the masked mean of the tokens (K = 1), or the members themselves (K = N).

        >>> Features.of(torch.ones(2, 3, 4)).pool().shape
        torch.Size([2, 1, 4])
        """
        if self.members:
            return self.tokens
        weight = self.mask.unsqueeze(-1).to(self.tokens.dtype)
        return (self.tokens * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
