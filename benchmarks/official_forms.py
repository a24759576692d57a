"""The two formulations of WeGeFT's official code, written from its description, as baselines for timings.

Both compute what `wegeft.methods.wegeft` computes; they differ in what they form on the way. They are methods, so that
``+experiment=efficiency`` times them beside the others; nothing else uses them, and they cannot be merged.
"""

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wegeft.methods.base import Method, MethodConfig, match_names

Form = Literal["v3", "v5"]


class OfficialFormConfig(MethodConfig):
    """Which formulation, its rank, the probability of dropping an entry of W (v5), and the layers."""

    form: Form
    r: int
    weight_dropout: float
    target_modules: tuple[str, ...]


class OfficialForm(Method):
    """One shared pair per target, in every layer that the target names."""

    Config: ClassVar[type[MethodConfig]] = OfficialFormConfig
    config: OfficialFormConfig
    mergeable = False

    def insert(self, backbone: nn.Module) -> None:
        """Freeze ``backbone`` and wrap its layers."""
        linears = {name: module for name, module in backbone.named_modules() if isinstance(module, nn.Linear)}
        targets = match_names(linears, self.config.target_modules, "method.target_modules")
        backbone.requires_grad_(False)
        pairs: dict[str, tuple[nn.Linear, nn.Linear]] = {}
        for name, target in targets.items():
            pair = pairs.setdefault(target, _pair(linears[name], self.config.r, self.config.form))
            layer = OfficialLinear(linears[name], pair, self.config.form, self.config.weight_dropout)
            backbone.set_submodule(name, layer)
        self.pairs = nn.ModuleList([linear for pair in pairs.values() for linear in pair])


class OfficialLinear(nn.Module):
    """A frozen linear layer with a shared pair, in the order of one of the two official codes.

    v3: ΔW = (Wφ)ψ is materialised and multiplied by x in a second product of full size.
    v5: W is copied to fp32, dropped out, and generates B = Wφ at every forward; x is copied to fp32 as well.
    """

    pair: tuple[nn.Linear, nn.Linear]

    def __init__(self, base: nn.Linear, pair: tuple[nn.Linear, nn.Linear], form: Form, p: float) -> None:
        super().__init__()
        self.base = base
        self.pair = pair  # in a tuple, which registers nothing: layers share it
        self.form = form
        self.dropout = nn.Dropout(p)

    def forward(self, x_NI: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        phi_RI, psi_RI = self.pair
        y_NO: Tensor = self.base(x_NI)
        b_OR: Tensor = phi_RI(self.dropout(self.base.weight.to(phi_RI.weight.dtype)))
        if self.form == "v3":
            delta_OI = F.linear(b_OR, psi_RI.weight.T)
            return y_NO + F.linear(x_NI, delta_OI.to(x_NI.dtype))
        update_NO = F.linear(psi_RI(x_NI.to(psi_RI.weight.dtype)), b_OR) * 2.0
        return (y_NO + update_NO).to(y_NO.dtype)


def _pair(base: nn.Linear, rank: int, form: Form) -> tuple[nn.Linear, nn.Linear]:
    """φ at zero and ψ random, both stored R × I; v3 keeps them in the dtype of the backbone, v5 in fp32."""
    place: dict[str, Any] = {
        "device": base.weight.device,
        "dtype": base.weight.dtype if form == "v3" else torch.float32,
    }
    phi_RI = nn.Linear(base.in_features, rank, bias=False, **place)
    nn.init.zeros_(phi_RI.weight)
    return phi_RI, nn.Linear(base.in_features, rank, bias=False, **place)
