"""Data sets, preprocessing and partition among hospitals.

A data set is a module of this package with a function `load(path) -> Dataset`; its file name is
its name. `load`, `names` and `describe` find them.
"""

from secure_fl.data.dataset import Dataset, FederatedData, Split
from secure_fl.data.partition import partition
from secure_fl.data.preprocessing import balance_classes
from secure_fl.data.registry import describe, load, names, options_of, shipped

__all__ = [
    "Dataset",
    "FederatedData",
    "Split",
    "balance_classes",
    "describe",
    "load",
    "names",
    "options_of",
    "partition",
    "shipped",
]
