"""Table 1 of the paper beside the settings that stand for it here."""

from __future__ import annotations

from collections.abc import Sequence

from eval.tables.sheet import Sheet
from secure_fl.settings.config import load_config
from secure_fl.settings.schema import ExperimentConfig, malicious_fractions


def parameter_sheet(data: str, settings: Sequence[str]) -> Sheet:
    """The paper's parameters, those of `experiment=table1`, and those that the command ran with.

    Raises:
        ConfigError: settings that do not fit.
    """
    asked = _parameters(load_config(["experiment=table1", f"data={data}"]))
    ran = _parameters(load_config(["experiment=table1", f"data={data}", *settings]))
    paper = {
        "Hospitals": "20; section 4.1: 10",
        "Malicious hospitals": "10–40 %",
        "Local epochs": "5",
        "Batch size": "32",
        "Learning rate": "0.001",
        "Rounds": "200",
        "Clipping threshold": "1.0",
        "Dirichlet concentration": "0.3",
        "Validators' share of the data": "10 %",
        "Validators": "5",
        "Ledger": "permissioned, Fabric",
        "Data": "MIMIC-III, ChestX-ray14",
    }
    body = [[name, told, asked[name], ran[name]] for name, told in paper.items()]
    header = ["Parameter", "Paper", "experiment=table1", "this report"]
    note = "Ten hospitals: experiment=section41. Fabric: Hyperledger Fabric."
    return Sheet("Parameters", header, body, note)


def _parameters(config: ExperimentConfig) -> dict[str, str]:
    shares = [f"{100 * share:.0f}" for share in malicious_fractions(config.malicious)]
    return {
        "Hospitals": str(config.data.hospitals),
        "Malicious hospitals": f"{', '.join(shares)} %",
        "Local epochs": str(config.train.epochs),
        "Batch size": str(config.train.batch_size),
        "Learning rate": f"{config.train.lr:g}",
        "Rounds": str(config.rounds),
        "Clipping threshold": str(config.privacy.clip_norm),
        "Dirichlet concentration": f"{config.data.alpha:g}",
        "Validators' share of the data": f"{100 * config.data.validation_fraction:g} %",
        "Validators": str(config.data.validators),
        "Ledger": "permissioned, EVM",
        "Data": config.data.name,
    }
