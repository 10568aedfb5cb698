"""The Gram laboratory: what the Gram matrices of style pictures say.

`measure` computes tables, `figures` draws them, `synthesis` paints textures from parts of the
statistics, `report` writes folder, web page and TensorBoard.
"""

from fst.gramlab.measure import Laboratory, Table

__all__ = ["Laboratory", "Table"]
