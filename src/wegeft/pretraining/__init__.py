"""How backbones that ship with the package were made."""
