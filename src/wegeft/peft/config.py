"""The configuration of WeGeFT in PEFT's form, and the entry of PEFT's list of types that it needs."""

from __future__ import annotations

from dataclasses import dataclass

from peft.config import PeftConfig
from peft.utils import PeftType

from wegeft.methods.wegeft import UpdateConfig

_NAME = "WEGEFT"


def _add_peft_type() -> PeftType:
    """A member of `PeftType` for WeGeFT.

    PEFT registers methods under members of an enumeration that lists its own; Python has no public way of adding one.
    """
    if _NAME in PeftType.__members__:
        return PeftType[_NAME]
    member = str.__new__(PeftType, _NAME)
    member._name_, member._value_ = _NAME, _NAME
    PeftType._member_names_.append(_NAME)
    PeftType._member_map_[_NAME] = member
    PeftType._value2member_map_[_NAME] = member
    type.__setattr__(PeftType, _NAME, member)
    return member


WEGEFT = _add_peft_type()


@dataclass
class WeGeFTConfig(PeftConfig):
    """Configuration of WeGeFT, W' = W (I + s·φψ); the defaults are those of the ICML version, without its dropout.

    Attributes:
        r: rank.
        alpha: numerator of the scale s.
        scaling: s, as ``alpha_over_r``, ``alpha_over_sqrt_r`` or ``one``.
        side: side of W that is multiplied, ``input`` or ``output``.
        sharing: which layers share (φ, ψ): ``per_type`` (one pair per entry of ``target_modules``, and per width if its
            layers have several; an entry that names one layer, as those of ``all-linear`` do, counts as the last part
            of the name), ``all``, ``equal_width``, ``per_layer``, or a list of regular expressions searched in the
            module name, one pair each.
        zero: factor that starts at zero, ``phi`` or ``psi``.
        weight_dropout: dropout of the entries of W in Wφ while training; the ICML version has 0.1.
        code_dropout: dropout of the low-rank code ψx while training.
        factor_bias: biases in the generation of ΔW from W.
        block: between the factors: ``identity``, ``gelu``, ``sigmoid``, ``mlp``, ``mlp_mixer`` or ``transformer``.
        form: order of the product, ``auto``, ``input`` or ``generated``.
        target_modules: names of the modules to adapt, a regular expression, or ``all-linear``; None takes those that
            PEFT's LoRA takes in the architecture.
        exclude_modules: names of modules to leave out, or a regular expression.
        layers_to_transform: indices of the layers to adapt; ``layers_pattern`` names their list.
        bias: biases of the backbone that are trained: ``none``, ``all`` or ``wegeft_only``.
        modules_to_save: modules that are trained and saved besides the adapter.
        init_weights: False draws both factors at random, so the model does not start unchanged.

    Raises:
        ValueError: a value, or a combination of values, that `wegeft.methods.wegeft.UpdateConfig` refuses.
    """

    r: int = 64
    alpha: float = 128
    scaling: str = "alpha_over_r"
    side: str = "input"
    sharing: str | list[str] = "per_type"
    zero: str = "phi"
    weight_dropout: float = 0.0
    code_dropout: float = 0.0
    factor_bias: bool = False
    block: str = "identity"
    form: str = "auto"
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    bias: str = "none"
    modules_to_save: list[str] | None = None
    init_weights: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]  # PEFT does not annotate it
        self.peft_type = WEGEFT
        for name in ("target_modules", "exclude_modules"):
            names = getattr(self, name)
            setattr(self, name, set(names) if isinstance(names, list) else names)
        chooses_layers = self.layers_to_transform is not None or self.layers_pattern is not None
        if isinstance(self.target_modules, str) and chooses_layers:
            raise ValueError("layers_to_transform and layers_pattern need target_modules to be a list.")
        if self.layers_pattern and self.layers_to_transform is None:
            raise ValueError("layers_pattern needs layers_to_transform, the indices in the list that it names.")
        self.update_config()

    def update_config(self) -> UpdateConfig:
        """The part that the formula of one layer needs; the factors take the dtype of the layer, as PEFT expects."""
        names = UpdateConfig.model_fields.keys() - {"bias", "factor_dtype"}
        values = {name: getattr(self, name) for name in names}
        return UpdateConfig(**values, bias=self.factor_bias, factor_dtype="backbone")
