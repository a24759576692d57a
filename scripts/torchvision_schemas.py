"""Import hook that lets torchvision be imported where its compiled operators cannot be loaded.

`scripts/repair_torchvision.py` copies this file into site-packages of the environment that needs it; nothing
in the package imports it. It runs at every start of Python, so it imports nothing but `sys` until torchvision
itself is imported. It does not supply the operators: `torchvision.ops.nms` and its like keep failing when
called, with an error that says so.
"""

import sys

# The first module torchvision imports after it has tried to load its compiled operators; the one that fails.
TRIGGER = "torchvision._meta_registrations"

# torchvision describes these two to torch's meta device whether or not its compiled operators are there.
SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def declare_missing_operators() -> None:
    """Declare those of `SCHEMAS` that torch does not know; it knows them where the operators could be loaded."""
    import torch.library

    for name, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", schema)


class SchemaFinder:
    """A meta-path finder that finds nothing: it acts when `TRIGGER` is about to be imported."""

    def find_spec(self, fullname: str, *_: object) -> None:
        """Declare the operators if `fullname` is the trigger, then leave the search to the other finders."""
        if fullname == TRIGGER:
            declare_missing_operators()


def install() -> None:
    """Put the finder first in `sys.meta_path`, once: where lib64 is lib, Python reads `.pth` files twice."""
    if not any(isinstance(finder, SchemaFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, SchemaFinder())
