"""Turn a post-norm vision transformer, saved as a NumPy archive, into a folder that ``model=local_vit`` reads.

``python scripts/import_post_norm_vit.py weights.npz FOLDER --heads 8``. The archive holds the state of a network made
of ``torch.nn.TransformerEncoder`` in its default form (post-norm, ReLU) between a patch embedding and a head: names
``cls_token``, ``pos_embed``, ``patch_embed.proj.*``, ``transformer.layers.N.*`` and ``mlp_head.{0,1}.*``.

Does not: read pickles, or fetch anything.
"""

import argparse
import json
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from wegeft.errors import UserError
from wegeft.files import write_atomically

NAMES = (
    (r"transformer\.layers\.(\d+)\.self_attn\.in_proj_", r"blocks.\1.attn.qkv."),
    (r"transformer\.layers\.(\d+)\.self_attn\.out_proj\.", r"blocks.\1.attn.proj."),
    (r"transformer\.layers\.(\d+)\.linear([12])\.", r"blocks.\1.mlp.fc\2."),
    (r"transformer\.layers\.(\d+)\.norm([12])\.", r"blocks.\1.norm\2."),
    (r"mlp_head\.0\.", "norm."),
    (r"mlp_head\.1\.", "head."),
)


def main() -> None:
    """Read, rename, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="the .npz archive")
    parser.add_argument("output", type=Path, help="the folder to write")
    parser.add_argument("--heads", type=int, required=True, help="attention heads, which no shape tells")
    options = parser.parse_args()
    try:
        state = renamed(read(options.source))
        config = architecture(state, options.heads)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    write_atomically(options.output / "model.safetensors", safetensors.torch.save(state))
    write_atomically(options.output / "config.json", json.dumps(config, indent=1).encode())


def read(path: Path) -> dict[str, Tensor]:
    """The arrays of the archive."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: torch.from_numpy(archive[name]) for name in archive}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors by the names of :class:`wegeft.models.post_norm_vit.PostNormViT`."""
    found = {}
    for name, value in state.items():
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        found[name] = value.contiguous()
    return found


def architecture(state: Mapping[str, Tensor], heads: int) -> dict[str, object]:
    """The ``config.json`` that belongs to the tensors."""
    try:
        width, _, patch, _ = state["patch_embed.proj.weight"].shape
        positions, hidden = state["pos_embed"].shape[1], state["blocks.0.mlp.fc1.weight"].shape[0]
    except KeyError as error:
        raise UserError(f"The archive holds no {error.args[0]}, so it is no such transformer.") from error
    arguments = {
        "img_size": patch * round((positions - 1) ** 0.5),
        "patch_size": patch,
        "embed_dim": width,
        "depth": sum(name.endswith("attn.qkv.weight") for name in state),
        "num_heads": heads,
        "mlp_width": hidden,
    }
    return {"architecture": "wegeft.models.post_norm_vit.PostNormViT", "model_args": arguments}


if __name__ == "__main__":
    main()
