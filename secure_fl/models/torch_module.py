"""Any `torch.nn.Module` as the model of all hospitals at once."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import is_lazy

from secure_fl.errors import InputError, require
from secure_fl.models.model import Model, Shape
from secure_fl.models.probe import probe

_DROPOUT = (nn.modules.dropout._DropoutNd, nn.RReLU)


class TorchModule(Model):
    """A module of one's own; hospitals are a batch dimension by `torch.func.vmap`.

    The module is copied. The copy is in evaluation mode throughout: dropout does nothing, in
    training neither, since its draws would come from a generator that no seed of a run fixes
    (a warning says so). Its parameters, as they are, are the initial model, whatever the seed.

    Example:
        >>> module = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
        >>> model = TorchModule(module, (5,), 3)
        >>> model.num_parameters
        39
    """

    def __init__(self, module: nn.Module, feature_shape: Shape, classes: int) -> None:
        """Copy a module and hold it to what can be trained here.

        Args:
            module: maps rows (m, *feature_shape) to logits (m, classes), each row by itself.
            feature_shape: shape of one row.
            classes: how many there are.

        Raises:
            InputError: no module, parameters that are missing, lazy, frozen or not float32,
                buffers, random draws, rows that are not treated one by one, or other logits.
        """
        if not isinstance(module, nn.Module):
            raise InputError(f"model must be a torch.nn.Module; got {type(module).__name__}")
        _check_parameters(module)
        _check_buffers(module)
        if any(isinstance(part, _DROPOUT) for part in module.modules()):
            warnings.warn(
                "dropout does nothing in a federation: the module runs in evaluation mode; use "
                "weight decay or fewer epochs against overfitting",
                stacklevel=2,
            )
        self._module = copy.deepcopy(module).cpu().eval()
        named = dict(self._module.named_parameters())
        # A parameter may stand in several places; each place of a module is named once.
        order = {id(value): index for index, value in enumerate(named.values())}
        self._places = tuple(
            (f"{prefix}.{name}" if prefix else name, order[id(value)])
            for prefix, part in self._module.named_modules()
            for name, value in part.named_parameters(recurse=False)
        )
        self.feature_shape, self.classes = tuple(feature_shape), classes
        self.shapes = tuple(tuple(value.shape) for value in named.values())
        self.fans = tuple(1 for _ in named)  # `init` draws nothing
        probe(self, f"model {type(module).__name__}")

    def init(self, generator: torch.Generator) -> torch.Tensor:
        """The module's own parameters: float32 (d,); the generator is not used."""
        return _flat(self._module)

    def to_module(self, params: torch.Tensor) -> nn.Module:
        """A module of its own with the given parameters, float (d,)."""
        made = copy.deepcopy(self._module)
        rule = f"of shape ({self.num_parameters},)"
        require(params.shape == (self.num_parameters,), "params", rule, tuple(params.shape))
        with torch.no_grad():
            for own, given in zip(
                made.parameters(), self.split(params.float().unsqueeze(0)), strict=True
            ):
                own.copy_(given[0])
        return made

    def forward(self, tensors: Sequence[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """See `Model.forward`."""
        with _attention_by_parts():
            return vmap(self._call)(tuple(tensors), x)

    def _call(self, tensors: tuple[torch.Tensor, ...], x: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes) of one network."""
        named = {name: tensors[index] for name, index in self._places}
        logits: torch.Tensor = functional_call(self._module, named, (x,), tie_weights=False)
        return logits


@contextmanager
def _attention_by_parts() -> Iterator[None]:
    """Without torch's fused attention, which `vmap` cannot batch or differentiate."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def shared_module(modules: Sequence[Any]) -> nn.Module:
    """The one module of hospitals that each bring theirs.

    Raises:
        InputError: none, something else, or parameters that differ between hospitals.
    """
    require(len(modules) > 0, "model", "a module, or one a hospital", "an empty list")
    first = modules[0]
    for i, module in enumerate(modules):
        if not isinstance(module, nn.Module):
            raise InputError(f"model of hospital {i} must be a module; got {type(module).__name__}")
        own, theirs = dict(first.named_parameters()), dict(module.named_parameters())
        for name in {**own, **theirs}:
            rule = f"parameter {name!r} of hospital {i}'s model"
            if name not in own or name not in theirs or own[name].shape != theirs[name].shape:
                raise InputError(f"{rule} must be as hospital 0's: all train one network")
            if not torch.equal(own[name], theirs[name]):
                raise InputError(f"{rule} must equal hospital 0's: all start from one model")
    return first


def _flat(module: nn.Module) -> torch.Tensor:
    parts = [value.detach().reshape(-1) for value in module.parameters()]
    return torch.cat(parts).clone()


def _check_parameters(module: nn.Module) -> None:
    named = list(module.named_parameters())
    require(len(named) > 0, "model", "a module with parameters", f"{type(module).__name__} without")
    for name, value in named:
        place = f"parameter {name!r} of the model"
        if is_lazy(value):
            raise InputError(f"{place} must have a shape: pass one batch through the module first")
        require(value.dtype == torch.float32, place, "float32", value.dtype)
        if not value.requires_grad:
            raise InputError(f"{place} is frozen; all are trained here: keep it as a constant")
        require(bool(value.isfinite().all()), place, "finite", "NaN or infinity")


def _check_buffers(module: nn.Module) -> None:
    for name, _ in module.named_buffers():
        raise InputError(
            f"buffer {name!r} of the model is refused: it would change at each hospital and never "
            "be combined; use GroupNorm, LayerNorm or InstanceNorm without running statistics in "
            "place of batch norm, and a plain attribute for a constant"
        )
