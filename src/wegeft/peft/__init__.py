"""WeGeFT as a tuner of an unchanged Hugging Face PEFT: importing this package registers it.

    import peft
    import wegeft.peft

    model = peft.get_peft_model(model, wegeft.peft.WeGeFTConfig(r=64, alpha=128, target_modules=["q_proj", "v_proj"]))

Saving, loading, merging, several adapters and disabling are PEFT's own functions, so whatever trains a PEFT model
trains this one. The formula is `wegeft.methods.wegeft`, the same code that the experiments run.

Does not: mix adapters within a batch (``adapter_names``), target embeddings, convolutions or bare parameters, scale
adapters, or run under `nn.DataParallel`, nor under FSDP if layers share factors: whoever borrows them would find those
of a sharded owner gone.
"""

from peft.utils import register_peft_method

from wegeft.peft.config import WeGeFTConfig
from wegeft.peft.layer import WeGeFTLinear
from wegeft.peft.model import WeGeFTModel

__all__ = ["WeGeFTConfig", "WeGeFTLinear", "WeGeFTModel"]

register_peft_method(name="wegeft", config_cls=WeGeFTConfig, model_cls=WeGeFTModel, prefix="wegeft_")
