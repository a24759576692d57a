"""From the last hidden states of a causal language model to its logits, by the model's own code.

That is its head, and in some architectures more: soft caps (Gemma 2), scales (Granite, Cohere), biases. So the model's
``forward`` is run with something in the place of its decoder that returns hidden states computed before.

Does not: run the decoder, or choose positions.
"""

from typing import Any

from torch import Tensor, nn


class Head:
    """What turns hidden states of any positions into logits, differentiably.

    Attributes:
        vocabulary: logits per position.
    """

    def __init__(self, model: Any, output: Any) -> None:
        """Take what follows the decoder of ``model``, a transformers causal LM.

        Args:
            model: the whole of it.
            output: what its decoder (``base_model``) has returned, whose other fields ``forward`` may ask for.
        """
        self._model, self._output = model, output
        self.vocabulary: int = model.get_output_embeddings().weight.shape[0]

    def __call__(self, hidden_ND: Tensor) -> Tensor:
        """Logits (N, V)."""
        model, name, decoder = self._model, self._model.base_model_prefix, self._model.base_model
        output = type(self._output)(**{**self._output, "last_hidden_state": hidden_ND[None]})
        setattr(model, name, _Computed(decoder, model.get_decoder(), output))
        try:
            logits_NV: Tensor = model(use_cache=False).logits[0]
            return logits_NV
        finally:
            setattr(model, name, decoder)


class _Computed(nn.Module):
    """Stands for a decoder and returns ``output`` whatever it is called with; has the decoder's attributes."""

    def __init__(self, decoder: nn.Module, inner: nn.Module, output: Any) -> None:
        super().__init__()
        self.__dict__.update(decoder_=decoder, inner_=inner, output_=output)  # not registered as parts

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        return self.output_

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.__dict__["decoder_"], name)
        return self if found is self.__dict__["inner_"] else found  # OPT calls the decoder in its decoder
