"""Sizes in pixels that networks take. Without torch."""

# Shorter sides of the smallest pictures:
MIN_SIZE_PX = 16  # of the transformer: below, its trunk at a quarter is too small to reflect
MIN_VGG_PX = 32  # of a VGG: relu5_1 has 2 x 2 positions there, the least that reflect padding takes

MARGINS = (0, 4, 8)  # of the transformer, see `TransformerNet`
