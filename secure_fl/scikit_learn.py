"""scikit-learn, imported so that Python's random numbers go on as they were.

It loads rich, which draws some from the program's own generator when it is imported.
"""

import random

_state = random.getstate()
try:
    from sklearn import datasets, metrics
finally:
    random.setstate(_state)

__all__ = ["datasets", "metrics"]
