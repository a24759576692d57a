"""The input form of WeGeFT, x + s·φ(ψx), for one layer or for all layers that read the same x.

Layers that read the same input (q, k, v; gate, up) encode it in one product with their ψ side by side. The backward
pass computes the codes ψx again instead of keeping them, and casts the factors again instead of keeping the copies: a
seventh product of the size of the six that training takes, all of them R/O of the layer's own, for N·R values a layer.
So the input form keeps x and nothing else, which is less than any LoRA keeps.

The codes can be had besides, for weight dropout, which subtracts the part of the dropped entries from the output; they
are then kept for that product.

Does not: drop entries of the code (`wegeft.methods.wegeft` does then, with kept codes), or know which layers read the
same input; that they do is seen when they are called, and a layer called with another tensor is served on its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wegeft.methods.linear import compute_dtype
from wegeft.products import add_product, product, transposed_product

if TYPE_CHECKING:
    from wegeft.methods.frozen import Frozen
    from wegeft.methods.wegeft import InputUpdate

SHARE_INPUT = (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("q", "k", "v"), ("gate_proj", "up_proj"))
"""Last names of layers of one module that read the same tensor, in the families of backbones that ship."""

Pair = tuple[Tensor, Tensor]
"""(φ of shape (I, R), ψ of shape (R, I))."""


EditedInput = tuple[Tensor, Tensor | None]
"""(x + s·φ(ψx) of shape (..., I), the code s·ψx of shape (..., R) if it was asked for)."""


def edited_inputs(x_NI: Tensor, pairs: Sequence[Pair], scale: float, with_codes: bool = False) -> list[EditedInput]:
    """The input edited by each pair, in the dtype of the computation; ``scale`` is s."""
    x_NI = x_NI.to(compute_dtype(x_NI))  # here and not by autocast, which the backward pass runs without
    flat_NI = x_NI.reshape(-1, x_NI.shape[-1])
    factors = (factor for pair in pairs for factor in pair)
    made: tuple[Tensor, ...] = _Edit.apply(flat_NI, scale, with_codes, *factors)  # type: ignore[no-untyped-call]
    edited = [edited_NI.view_as(x_NI) for edited_NI in made[: len(pairs)]]
    codes = [code_NR.view(*x_NI.shape[:-1], -1) for code_NR in made[len(pairs) :]]
    return list(zip_longest(edited, codes))


class _Edit(torch.autograd.Function):
    """`edited_inputs` of a matrix; the factors come one after the other, φ before ψ, the codes after what is edited."""

    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, scale: float, with_codes: bool, *factors: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x_NI, *factors)
        ctx.scale = scale
        phis, psi_CI = _cast(x_NI, factors)
        codes = _codes(x_NI, phis, psi_CI, scale)
        edited = (add_product(x_NI, code_NR, phi_IR) for code_NR, phi_IR in zip(codes, phis, strict=True))
        return (*edited, *(code_NR.contiguous() for code_NR in codes)) if with_codes else tuple(edited)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_NI, *factors = ctx.saved_tensors
        phis, psi_CI = _cast(x_NI, factors)
        codes = _codes(x_NI, phis, psi_CI, ctx.scale)
        grads, code_grads = grads[: len(phis)], grads[len(phis) :]
        grad_phis = [transposed_product(g_NI, code_NR) for g_NI, code_NR in zip(grads, codes, strict=True)]
        grad_codes = [product(g_NI, phi_IR.T) for g_NI, phi_IR in zip(grads, phis, strict=True)]
        for grad_NR, more_NR in zip(grad_codes, code_grads, strict=False):  # there may be none
            grad_NR.add_(more_NR)
        grad_code_NC = (torch.cat(grad_codes, dim=1) if len(grad_codes) > 1 else grad_codes[0]).mul_(ctx.scale)
        grad_psis = transposed_product(grad_code_NC, x_NI).split([phi_IR.shape[1] for phi_IR in phis])
        grad_x_NI = None
        if ctx.needs_input_grad[0]:
            grad_x_NI = add_product(sum(grads[1:], grads[0]), grad_code_NC, psi_CI.T)
        grad_factors = (grad for pair in zip(grad_phis, grad_psis, strict=True) for grad in pair)
        return grad_x_NI, None, None, *(grad.to(f) for grad, f in zip(grad_factors, factors, strict=True))


def _cast(x_NI: Tensor, factors: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """The φ, and all ψ as one matrix (sum of ranks, I), in the dtype of the activations."""
    phis, psis = ([factor.to(x_NI) for factor in factors[side::2]] for side in (0, 1))
    return phis, torch.cat(psis) if len(psis) > 1 else psis[0]


def _codes(x_NI: Tensor, phis: Sequence[Tensor], psi_CI: Tensor, scale: float) -> tuple[Tensor, ...]:
    """s·ψx of every pair, (N, R)."""
    code_NC = product(x_NI, psi_CI).mul_(scale)
    return torch.split(code_NC, [phi_IR.shape[1] for phi_IR in phis], dim=1)


class SharedInput:
    """Layers of one module that read the same tensor; the first that is called edits it for all of them.

    What the others will ask for is kept until they have. If one of them comes with another tensor instead, they do not
    read the same (cross-attention), and each is served on its own from the next optimiser step on: not sooner, because
    what a backward pass computes again must save the same tensors as the forward pass did. If one that has been served
    comes again, the pass before broke off, which says nothing about them.
    """

    def __init__(self, members: Mapping[Frozen, InputUpdate]) -> None:
        self._members = members
        self._unlike_at: tuple[int, ...] | None = None
        """Versions of the factors when the members were found to read different tensors."""
        self._x_NI: Tensor | None = None
        self._state: tuple[object, ...] = ()
        self._edited: dict[Frozen, EditedInput] = {}

    def edited(self, base: Frozen, x_NI: Tensor) -> EditedInput:
        """The input of ``base``, edited by its update."""
        versions = tuple(factor._version for update in self._members.values() for factor in update.factors)
        state = (x_NI._version, self._members[base].kept, *versions)
        if self._x_NI is not x_NI or self._state != state or base not in self._edited:
            if base in self._edited and self._unlike_at is None:
                self._unlike_at = versions
            together = self._unlike_at in (None, versions)
            self._x_NI, self._state, self._edited = x_NI, state, self._edit(base, x_NI, together)
        own = self._edited.pop(base)
        if not self._edited:
            self.forget()
        return own

    def forget(self) -> None:
        """Let go of what is kept and of the graph behind it; if a forward pass broke off, nobody will ask for it."""
        self._x_NI, self._edited = None, {}

    def _edit(self, base: Frozen, x_NI: Tensor, together: bool) -> dict[Frozen, EditedInput]:
        """For ``base`` and, if they do it ``together``, all members that take the input form."""
        members = {base: self._members[base]}
        if together:
            members = {b: update for b, update in self._members.items() if update.uses_input_form(b, x_NI)}
        updates = list(dict.fromkeys(members.values()))  # several members may share one
        first = updates[0]
        edited = edited_inputs(x_NI, [u.factors for u in updates], first.scale / first.kept, with_codes=first.kept < 1)
        return {b: edited[updates.index(update)] for b, update in members.items()}


def share_inputs(members: Mapping[str, tuple[Frozen, InputUpdate]]) -> None:
    """Let the layers that read the same input, by their full names, edit it together."""
    together: dict[tuple[str, int], dict[Frozen, InputUpdate]] = {}
    for name, (base, update) in members.items():
        parent, _, last = name.rpartition(".")
        for family, names in enumerate(SHARE_INPUT):
            if last in names:
                together.setdefault((parent, family), {})[base] = update
    for group in together.values():
        if len(group) > 1:
            shared = SharedInput(group)
            for base, update in group.items():
                update.shared_inputs[base] = shared
