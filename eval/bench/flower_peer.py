"""Federated averaging by Flower's simulation: for `bench simulation`.

usage: FLOWER_PYTHON flower_peer.py TASK.npz MODEL.npy SETTINGS

Runs under an interpreter that has `flwr[simulation]` and torch (no dependencies of this project;
tried with flwr 1.42.0): one hospital a node, as many nodes at a time as there are cores, no
evaluation. Writes the parameters after the first round; prints seconds of each round as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import pairwise
from typing import Any

# Reports of use, of Flower and of Ray.
os.environ.update(FLWR_TELEMETRY_ENABLED="0", RAY_USAGE_STATS_ENABLED="0")


def network(widths: list[int]) -> Any:
    """Linear layers of these widths with ReLU between them."""
    from torch import nn

    layers: list[Any] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def fit(task: str, told: dict[str, Any], hospital: int, number: int, start: Any) -> tuple[Any, int]:
    """Train a hospital from parameters (d,) in a round: its own (d,), and how many rows it has."""
    import numpy as np
    import torch
    from torch import nn

    torch.set_num_threads(told["threads"])
    with np.load(task) as held:  # reads what is asked for alone
        x, y = (torch.from_numpy(held[f"{name}{hospital}"]) for name in "xy")
        seed = int(held["draws"][number - 1, hospital])
    module = network(told["widths"])
    with torch.no_grad():
        nn.utils.vector_to_parameters(torch.from_numpy(start.copy()), module.parameters())
    optimizer = torch.optim.Adam(module.parameters(), lr=told["lr"])
    rng = torch.Generator().manual_seed(seed)
    for _ in range(told["epochs"]):
        for rows in torch.randperm(len(x), generator=rng).split(told["batch"]):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
            optimizer.step()
    return nn.utils.parameters_to_vector(module.parameters()).detach().numpy(), len(x)


def main() -> int:
    """Play all rounds; see above."""
    import numpy as np
    from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    task, made, told = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    client, server = ClientApp(), ServerApp()
    seconds: list[float] = []

    @client.train()
    def train(message: Message, context: Context) -> Message:
        hospital = int(context.node_config["partition-id"])
        number = int(message.content["config"]["server-round"])
        (start,) = message.content["arrays"].to_numpy_ndarrays()
        ended, rows = fit(task, told, hospital, number, start)
        metrics = MetricRecord({"num-examples": rows})
        content = RecordDict({"arrays": ArrayRecord([ended]), "metrics": metrics})
        return Message(content=content, reply_to=message)

    class Timed(FedAvg):
        """Takes the time from a round's messages to its mean."""

        def configure_train(self, *given: Any) -> Any:
            self.began = time.perf_counter()
            return super().configure_train(*given)

        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            received = list(replies)
            failed = [reply.error.reason for reply in received if reply.has_error()]
            if failed:
                raise RuntimeError(f"a node failed: {failed[0]}")
            found = super().aggregate_train(server_round, received)
            seconds.append(time.perf_counter() - self.began)
            if server_round == 1:
                np.save(made, found[0].to_numpy_ndarrays()[0])
            return found

    @server.main()
    def play(grid: Grid, context: Context) -> None:
        with np.load(task) as held:
            start = ArrayRecord([held["start"]])
        strategy = Timed(fraction_evaluate=0.0, min_available_nodes=told["hospitals"])
        strategy.start(grid, start, num_rounds=told["rounds"])

    resources = {"num_cpus": 1, "num_gpus": 0.0}
    cores = len(os.sched_getaffinity(0))
    run_simulation(
        server,
        client,
        told["hospitals"],
        backend_config={"client_resources": resources, "init_args": {"num_cpus": cores}},
    )
    print(json.dumps(seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
