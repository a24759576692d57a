"""WeGeFT: the change of a frozen weight is generated from the weight itself (Savadikar et al., arXiv 2312.00700).

    W' = W (I + s·φψ)        φ of shape (I, R), ψ of shape (R, I)        (side=input, the published method)
    W' = (I + s·φψ) W        φ of shape (O, R), ψ of shape (R, O)        (side=output)

Layers may share (φ, ψ); what differs between their updates then comes from W alone. In either case the bias of the
layer is not transformed. The output side is written from the formula: the released code has an option for it that
cannot run, because both factors map from the width to the rank, and no published number uses it.

One factor starts at zero, the other Kaiming-uniform with a=√5 over the width, U(±1/√D), which is the default of
`nn.Linear`; so the layer starts unchanged, and at the first step only the zero factor gets a gradient. The ICML
code (v5) starts φ at zero, the earlier code (v3) and the vision code ψ.

Two orders of the same product, never (Wφ)ψ times x:

    input form      W (x + s·φ(ψx)) + b          costs as much as the frozen layer and 2·N·R·I multiply-adds
                                                 (`wegeft.methods.input_edit`)
    generated form  W x + b + s·(Wφ)(ψx)         a LoRA with A = ψ and the generated B = Wφ

Where an optimiser step has several forward passes (accumulation, checkpointing), Wφ is computed once for all of them.
With weight dropout, either form works on W less its dropped entries D, with s/(1-p) for s: the generated form on
(W - D)φ, the input form on W, and Dφ(ψx) is subtracted, which is cheap where few entries are dropped.

Rounding speaks for neither: with bf16 activations and fp32 factors, both forms, the folded weight and the official
fp32 path have the same error against fp64 within 6 %, and lose the same part of an update that is smaller than the last
bit of the output (tests/methods/test_rounding.py). So ``auto`` decides by cost alone.

Does not: know the non-linear blocks that ablations put between the factors (`wegeft.methods.blocks`), nor how the
dropout of W is computed (`wegeft.methods.weight_dropout`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated, ClassVar, Literal, NamedTuple, Self, get_args

import torch
import torch.nn.functional as F
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor, nn

from wegeft.errors import UserError
from wegeft.methods.base import MethodConfig
from wegeft.methods.blocks import BlockName, build_block
from wegeft.methods.frozen import Frozen
from wegeft.methods.input_edit import EditedInput, Pair, SharedInput, edited_inputs, share_inputs
from wegeft.methods.linear import (
    LinearMethod,
    LinearMethodConfig,
    LowRankUpdate,
    Site,
    cast_like,
    check_rank,
    uniform,
    wide_dtype,
    zeros,
)
from wegeft.methods.weight_dropout import dropped_product, is_sparse, kept_product
from wegeft.products import add_product, product, transposed_product
from wegeft.schema import Strict

Scheme = Literal["per_type", "all", "equal_width", "per_layer"]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class UpdateConfig(Strict):
    """What the formula of one layer needs to know.

    Attributes:
        r: rank R.
        alpha: numerator of the scale s.
        scaling: s = α/r (v5), α/√r (as in rsLoRA) or 1 (v3, vision).
        side: which side of W is multiplied.
        zero: the factor that starts at zero.
        weight_dropout: probability of dropping an entry of W in Wφ while training, a new mask each forward (v5).
        code_dropout: probability of dropping an entry of the low-rank code ψx, while training.
        bias: add the biases that v3's two projections can have, b_R and b_I in ΔW = (Wφ + 1 b_R)ψ + 1 b_I.
        block: what stands between the factors in the ablations, ΔW = block(Wφ)ψ.
        form: which order of the product to compute; auto takes the cheaper one for the layer and the batch.
        factor_dtype: dtype in which the factors are kept; ``backbone`` takes the weight's.
    """

    r: int = Field(ge=1)
    alpha: float = Field(gt=0)
    scaling: Literal["alpha_over_r", "alpha_over_sqrt_r", "one"]
    side: Literal["input", "output"]
    zero: Literal["phi", "psi"]
    weight_dropout: float = Field(ge=0, le=0.99)  # beyond, a byte is too short for the mask's threshold
    code_dropout: float = Field(ge=0, lt=1)
    bias: bool
    block: BlockName
    form: Literal["auto", "input", "generated"]
    factor_dtype: Literal["float32", "bfloat16", "backbone"]

    @property
    def scale(self) -> float:
        """The factor s before φψ."""
        divisor = {"alpha_over_r": self.r, "alpha_over_sqrt_r": math.sqrt(self.r), "one": self.alpha}
        return self.alpha / divisor[self.scaling]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        needs_generated = self.bias or self.block != "identity"
        if self.form == "input" and needs_generated:
            raise ValueError("method.form=input has no method.bias or method.block: set form=auto")
        if self.side == "output" and (needs_generated or self.weight_dropout or self.form == "generated"):
            raise ValueError(
                "method.side=output has no method.weight_dropout, method.bias, method.block or method.form=generated"
            )
        if self.block != "identity" and self.zero == "phi":
            raise ValueError("method.block needs method.zero=psi: block(Wφ) is not zero where φ is")
        return self


def _known_scheme(sharing: object) -> object:
    """Refuse what is no scheme in one sentence; pydantic's own would list every form that the value could have."""
    patterns = isinstance(sharing, list | tuple) and all(isinstance(pattern, str) for pattern in sharing)
    if not (patterns and sharing) and sharing not in get_args(Scheme):
        raise ValueError(f"choose {', '.join(get_args(Scheme))}, or a list of at least one regular expression")
    return sharing


class WeGeFTConfig(UpdateConfig, LinearMethodConfig):
    """Keys of WeGeFT.

    Attributes:
        recipe, recipe_of_family, recipes: which published set of values the keys refer to, which one that is for
            each kind of backbone unless the person says otherwise, and the sets; unused by the code.
        sharing: one (φ, ψ) per entry of ``target_modules`` (published), for all layers, for all layers of equal width,
            or per layer; or a list of regular expressions, searched in the full module name: one pair per
            expression, the first that fits, and one per layer where none does.
    """

    recipe: str
    recipe_of_family: dict[str, str] = Field(default_factory=dict)
    recipes: dict[str, dict[str, object]]
    sharing: Annotated[Scheme | tuple[str, ...], BeforeValidator(_known_scheme)]


class WeGeFTUpdate(LowRankUpdate):
    """φ and ψ on one side of W; D is the width of that side."""

    def __init__(self, config: UpdateConfig, base: Frozen, width: int) -> None:
        super().__init__()
        device, dtype = base.device, _DTYPES.get(config.factor_dtype, base.weight.dtype)
        random = uniform((config.r, width), width, device, dtype)
        zero = zeros((config.r, width), device, dtype)
        phi_RD, self.psi_RD = (zero, random) if config.zero == "phi" else (random, zero)
        self.phi_DR = nn.Parameter(phi_RD.data.T.contiguous())
        self.scale = config.scale
        self.weight_dropout = config.weight_dropout
        self.code_dropout = config.code_dropout

    @property
    def kept(self) -> float:
        """The part of the entries of W that is kept now: 1, or 1 - p."""
        return 1 - self.weight_dropout if self.training else 1.0

    def code(self, x_ND: Tensor) -> Tensor:
        """s·dropout(ψx), (..., R)."""
        (psi_RD,) = cast_like(x_ND, self.psi_RD)
        return F.dropout(product(x_ND, psi_RD), self.code_dropout, self.training) * self.scale

    def edit(self, x_ND: Tensor, code_NR: Tensor) -> Tensor:
        """(I + s·φψ) x for the code s·ψx, (..., D)."""
        return add_product(x_ND, code_NR, *cast_like(x_ND, self.phi_DR))


class InputUpdate(WeGeFTUpdate):
    """W' = W (I + s·φψ): an edit of the layer's input.

    With the options of the ablations, ΔW = s·(block(Wφ + 1 b_R) ψ + 1 b_I).
    """

    def __init__(self, config: UpdateConfig, base: Frozen, width: int) -> None:
        super().__init__(config, base, width)
        device, dtype = base.device, self.phi_DR.dtype
        self.b_R = zeros((config.r,), device, dtype) if config.bias else None
        self.b_I = zeros((width,), device, dtype) if config.bias else None
        with device:  # and not moved there, which what has no storage yet cannot be
            self.block = build_block(config.block, config.r, base.out_features).to(dtype)
        self.form = config.form
        self.is_bilinear = not config.bias and config.block == "identity"
        self.shared_inputs: dict[Frozen, SharedInput] = {}
        self._passes = 1
        self._products: dict[Frozen, Tensor] | None = None

    @property
    def factors(self) -> Pair:
        """(φ, ψ)."""
        return self.phi_DR, self.psi_RD

    def forward(self, base: Frozen, x_NI: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        if self.uses_input_form(base, x_NI):
            edited_NI, code_NR = self._edited(base, x_NI)
            return base(edited_NI) if code_NR is None else self._without_dropped(base, base(edited_NI), code_NR)
        y_NO = add_product(base(x_NI), self.code(x_NI), *cast_like(x_NI, self.generated(base)))
        if self.b_I is None:
            return y_NO
        return y_NO + self.scale * (x_NI @ self.b_I.to(x_NI))[..., None]

    def uses_input_form(self, base: Frozen, x_NI: Tensor) -> bool:
        """Whether this forward pass takes the input form."""
        if not self.is_bilinear:
            return False
        if self.form != "auto":
            return self.form == "input"
        if self.kept < 1 and not is_sparse(base.device, base.in_features * base.out_features):
            return False  # there is nothing to gain from subtracting what is dropped
        if base.is_quantised:  # the other form would need a dequantised copy of W
            return True
        size = LayerSize(x_NI.numel() // base.in_features, base.in_features, base.out_features, self.phi_DR.shape[1])
        passes = self._passes if torch.is_grad_enabled() else None
        balance = MULTIPLY_ADDS_PER_ELEMENT.get(base.device.type, 16)
        return input_form_is_cheaper(size, passes, balance, drops_entries=self.kept < 1)

    def _edited(self, base: Frozen, x_NI: Tensor) -> EditedInput:
        """The input that the frozen layer is given, x + s·φ(ψx), and the code if it is needed besides."""
        # The compiler decides by itself what to keep, and what it can compute once.
        if (self.training and self.code_dropout) or torch.compiler.is_compiling():
            code_NR = self.code(x_NI) / self.kept
            return self.edit(x_NI, code_NR), code_NR if self.kept < 1 else None
        if base in self.shared_inputs and torch.is_grad_enabled():
            return self.shared_inputs[base].edited(base, x_NI)
        return edited_inputs(x_NI, [self.factors], self.scale / self.kept, self.kept < 1)[0]

    def _without_dropped(self, base: Frozen, y_NO: Tensor, code_NR: Tensor) -> Tensor:
        """Subtract Dφ times the code."""
        weight_OI = base.weight
        dropped_OR = dropped_product(weight_OI, self.phi_DR.to(weight_OI), self.weight_dropout)
        return add_product(y_NO, code_NR, -dropped_OR)

    def generated(self, base: Frozen) -> Tensor:
        """B = block(Wφ + 1 b_R), with entries of W dropped while training with weight dropout: (O, R)."""
        weight_OI = base.weight
        if self.kept < 1:
            return self._finish(kept_product(weight_OI, self.phi_DR.to(weight_OI), self.weight_dropout) / self.kept)
        if self._products is None or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._finish(product(weight_OI, self.phi_DR.to(weight_OI).T))
        if base not in self._products:
            product_OR = product(weight_OI, self.phi_DR.detach().to(weight_OI).T)
            # In single precision, because the gradients of all passes add up in it.
            wide = torch.promote_types(weight_OI.dtype, torch.float32)
            self._products[base] = product_OR.to(wide).requires_grad_()
        return self._finish(self._products[base])

    @contextmanager
    def several_passes(self, passes: int) -> Iterator[None]:
        """Compute Wφ once for the forward passes of a step; their gradients reach φ on leaving."""
        self._passes, self._products = passes, {} if passes > 1 else None
        try:
            yield
            for base, product_OR in (self._products or {}).items():
                if product_OR.grad is not None:
                    weight_OI = base.weight
                    grad_IR = transposed_product(weight_OI, product_OR.grad.to(weight_OI)).to(self.phi_DR.dtype)
                    self.phi_DR.grad = grad_IR if self.phi_DR.grad is None else self.phi_DR.grad + grad_IR
        finally:
            self._passes, self._products = 1, None
            self.forget_inputs()

    def forget_inputs(self) -> None:
        """Let go of what is kept for layers that read the same input, if a forward pass broke off between them."""
        for shared in self.shared_inputs.values():
            shared.forget()

    def _finish(self, b_OR: Tensor) -> Tensor:
        """block(B + 1 b_R), computed in the dtype of the factors."""
        if self.is_bilinear:
            return b_OR
        b_OR = b_OR.to(self.phi_DR.dtype)
        finished_OR: Tensor = self.block(b_OR if self.b_R is None else b_OR + self.b_R)
        return finished_OR

    def lora_factors(self, base: Frozen) -> tuple[Tensor, Tensor]:
        """(ψ, s·B); with biases the rank is one more, for the row b_I."""
        dtype = wide_dtype(base.weight)
        a_RI = self.psi_RD.to(base.device, dtype)
        b_OR = self._finish(base.weight.to(dtype) @ self.phi_DR.to(base.device, dtype)).to(dtype)
        if self.b_I is not None:
            a_RI = torch.cat([a_RI, self.b_I.to(a_RI)[None]])
            b_OR = torch.cat([b_OR, torch.ones_like(b_OR[:, :1])], dim=1)
        return a_RI, self.scale * b_OR


class OutputUpdate(WeGeFTUpdate):
    """W' = (I + s·φψ) W: an edit of the layer's output before its bias is added."""

    def forward(self, base: Frozen, x_NI: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        z_NO = base.product(x_NI)
        y_NO = self.edit(z_NO, self.code(z_NO))
        return y_NO if base.bias is None else y_NO + base.bias.to(y_NO)

    def lora_factors(self, base: Frozen) -> tuple[Tensor, Tensor]:
        """(ψW, s·φ)."""
        dtype = wide_dtype(base.weight)
        weight_OI, (psi_RO, phi_OR) = base.weight.to(dtype), (self.psi_RD, self.phi_DR)
        return psi_RO.to(weight_OI) @ weight_OI, self.scale * phi_OR.to(weight_OI)


class WeGeFT(LinearMethod):
    """Pairs (φ, ψ) shared by the layers of a group."""

    Config: ClassVar[type[MethodConfig]] = WeGeFTConfig
    config: WeGeFTConfig

    def insert(self, backbone: nn.Module) -> None:
        """Freeze the backbone and wrap the layers."""
        if isinstance(self.config.sharing, tuple):
            names = [name for name, _ in backbone.named_modules()]
            for pattern in self.config.sharing:
                _check_pattern(pattern, names)
        super().insert(backbone)
        updates = ((site, self.update_of(site)) for site in self.sites)
        share_inputs({s.name: (s.base, update) for s, update in updates if isinstance(update, InputUpdate)})

    @contextmanager
    def several_passes(self, passes: int) -> Iterator[None]:
        """Compute every Wφ once for the forward passes of a step."""
        with ExitStack() as stack:
            for update in self.updates.values():
                if isinstance(update, InputUpdate):
                    stack.enter_context(update.several_passes(passes))
            yield

    def group_of(self, site: Site) -> str:
        """Name of the group of layers that share a pair."""
        return group_name(self.config.sharing, site.name, site.target, self.width(site))

    def build_update(self, sites: Sequence[Site]) -> WeGeFTUpdate:
        """The pair that ``sites`` share; they need equal widths on the edited side."""
        width = self.width(sites[0])
        for site in sites:
            if self.width(site) != width:
                raise UserError(
                    f"method.sharing={self.config.sharing} needs layers of equal {self.config.side} width, but "
                    f"{sites[0].name} has {width} and {site.name} has {self.width(site)}; choose per_type, "
                    f"equal_width or per_layer."
                )
        if self.config.block == "mlp_mixer" and len({site.base.out_features for site in sites}) > 1:
            raise UserError("method.block=mlp_mixer mixes rows, so layers that share it need equal output widths.")
        check_rank(self.config.r, width, sites[0].name)
        return build_update(self.config, sites[0].base)

    def width(self, site: Site) -> int:
        """D, the width of the side of W that is multiplied."""
        return edited_width(self.config, site.base)


def edited_width(config: UpdateConfig, base: Frozen) -> int:
    """D, the width of the side of W that is multiplied."""
    return base.in_features if config.side == "input" else base.out_features


def build_update(config: UpdateConfig, base: Frozen) -> WeGeFTUpdate:
    """A new pair for a layer like ``base``, on its device."""
    update = InputUpdate if config.side == "input" else OutputUpdate
    return update(config, base, edited_width(config, base))


def group_name(sharing: Scheme | Sequence[str], name: str, target: str, width: int) -> str:
    """The group of the layer ``name``, which ``target`` named and whose edited side has ``width``."""
    match sharing:
        case "per_type":
            return target
        case "all":
            return "all"
        case "per_layer":
            return name
        case "equal_width":
            return f"width_{width}"
        case patterns:
            fitting = (f"group_{i}" for i, pattern in enumerate(patterns) if re.search(pattern, name))
            return next(fitting, name)


class LayerSize(NamedTuple):
    """What the cost of a layer's forward pass depends on: tokens N, widths I and O, rank R."""

    tokens: int
    d_in: int
    d_out: int
    rank: int


MULTIPLY_ADDS_PER_ELEMENT = {"cpu": 16, "cuda": 128}
"""Multiply-adds that a machine makes in the time in which it moves one element of a matrix, to the power of two."""


def input_form_is_cheaper(size: LayerSize, passes: int | None, balance: int, drops_entries: bool = False) -> bool:
    """Whether the input form costs less than the generated form, in multiply-adds and elements moved.

    Multiply-adds per rank, elements moved in all; without a gradient, then with the one of all that is trained:

        input form      2·N·I            3·N·I                   7·N·I                     9·N·I
        generated form  N·I + N·O + I·O  N·I + 2·N·O + I·O       3·N·I + 3·N·O + 2·I·O/P  4·N·I + 4·N·O + 2·I·O/P

    The input form computes its code once more in the backward pass. W is frozen, so Wφ has one product backward; it and
    Wφ are computed once for the P forward passes of an optimiser step. Where entries of W are dropped, both forms pay
    for their product besides; P is 1, since they are others in every pass, and the input form subtracts, for 3·N·O more
    multiply-adds and 4·N·O more elements.

    Args:
        size: of the layer and the batch.
        passes: P; None without a gradient.
        balance: multiply-adds that cost as much as moving one element.
        drops_entries: whether entries of W are dropped.
    """
    n_i, n_o, i_o = size.tokens * size.d_in, size.tokens * size.d_out, size.d_in * size.d_out
    products: float
    moved: float
    if passes is None:
        products, moved = 2 * n_i - (n_i + n_o + i_o), 3 * n_i - (n_i + 2 * n_o + i_o)
    else:
        generation = 2 * i_o / (1 if drops_entries else passes)
        products, moved = 7 * n_i - (3 * n_i + 3 * n_o + generation), 9 * n_i - (4 * n_i + 4 * n_o + generation)
        if drops_entries:
            products, moved = products + 3 * n_o, moved + 4 * n_o
    return size.rank * products + balance * moved <= 0


def _check_pattern(pattern: str, names: Sequence[str]) -> None:
    """Raise a `UserError` unless ``pattern`` is a regular expression found in one of ``names``."""
    try:
        found = any(re.search(pattern, name) for name in names)
    except re.error as error:
        raise UserError(f"method.sharing={pattern} is not a regular expression: {error}.") from error
    if not found:
        raise UserError(f"method.sharing={pattern} fits no layer of the backbone.")
