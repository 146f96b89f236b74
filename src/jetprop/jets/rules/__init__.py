"""The rules, a file for each kind; importing this package registers them all."""

from jetprop.jets.rules import elementwise, linear, normalization, products, selection, shapes

__all__ = ["elementwise", "linear", "normalization", "products", "selection", "shapes"]
