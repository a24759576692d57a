"""WeGeFT experiment suite: weight-generative fine-tuning beside the methods it is compared with.

WeGeFT (Savadikar, Song, Wu; ICML 2025, arXiv 2312.00700) generates the change of a frozen weight W from the
weight itself, W' = W (I + s·φψ), with two small factors φ and ψ that layers may share.

The package holds the methods, the tasks, the training loop, the evaluation, the records and the tables;
`run.py` composes a configuration and calls it. This module holds nothing but the version, so that importing
it costs nothing.

Tensors carry their dimensions as a suffix of their names, one letter per dimension, outermost first; `x_NI`
has shape (N, I). The letters:

    B  batch                      I  input features of a layer
    L  positions of a sequence    O  output features of a layer
    N  tokens, B·L flattened      R  rank of a factor
    D  width of the model         V  vocabulary
    K  classes
"""

__version__ = "0.1.0"
