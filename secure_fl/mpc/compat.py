"""Import CrypTen 0.4.1 under a current torch.

CrypTen imports `torch.onnx._internal.registration`, which newer torch releases keep at
`torch.onnx._internal.torchscript_exporter.registration`. The alias below is set before CrypTen
is imported. This is the only module that imports CrypTen for the first time.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from types import ModuleType

from secure_fl.errors import SecureFLError

_OLD = "torch.onnx._internal.registration"
_NEW = "torch.onnx._internal.torchscript_exporter.registration"

INSTALL_HINT = (
    "CrypTen is not installed. Its published requirements name a package that no longer exists, "
    "so install it without them: pip install --no-deps crypten==0.4.1   (or run: make setup)"
)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def import_crypten() -> ModuleType:
    """Return the `crypten` module.

    Raises:
        SecureFLError: CrypTen is missing; the message says which command installs it.
    """
    if "crypten" in sys.modules:
        return sys.modules["crypten"]
    if not _exists("crypten"):
        raise SecureFLError(INSTALL_HINT)
    if not _exists(_OLD) and _exists(_NEW):
        sys.modules[_OLD] = importlib.import_module(_NEW)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("crypten")
