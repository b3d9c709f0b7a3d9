"""How a hospital trains: the one definition, which settings, hospitals and the server share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from secure_fl.checks import check, check_name, positive

OPTIMIZERS = ("adam", "sgd")
DEVICES = ("cpu", "cuda")


@dataclass
class TrainOptions:
    """Local training; defaults from the paper's table 1 and section 4.1.

    Attributes:
        epochs: passes over the hospital's rows.
        batch_size: rows a step; the last batch of an epoch may be smaller.
        lr: learning rate.
        optimizer: "adam" (betas 0.9 and 0.999, epsilon 1e-8; fresh moments each round) or "sgd"
            (plain).
        proximal_mu: FedProx. Adds mu (w - w_start) to the gradient; 0 is FedAvg.
            Ref: Li et al., MLSys 2020.
        device: "cpu", or "cuda" for a GPU, whose sums round differently.

    Raises:
        ConfigError: naming the setting as it is typed, `train.KEY`.
    """

    epochs: int = 5
    batch_size: int = 32
    lr: float = 0.001
    optimizer: str = "adam"
    proximal_mu: float = 0.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_name("train.device", self.device, DEVICES)
        check(self.epochs >= 1, "train.epochs", "at least 1", self.epochs)
        check(self.batch_size >= 1, "train.batch_size", "at least 1", self.batch_size)
        check(positive(self.lr), "train.lr", "> 0 and finite", self.lr)
        check_name("train.optimizer", self.optimizer, OPTIMIZERS)
        mu = self.proximal_mu
        check(0 <= mu < math.inf, "train.proximal_mu", ">= 0 and finite", mu)
