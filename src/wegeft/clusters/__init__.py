"""What the clusters of a low-rank method look at: heat maps of C = Wφ on images (official code, vision).

`maps` computes them, `sheet` draws them, `page` writes them, `mode` is ``mode=clusters``.
"""
