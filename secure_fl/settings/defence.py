"""A defence as settings: its rule, where that runs, and what the server does around it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from secure_fl import aggregation
from secure_fl.backends.session import BACKENDS, LONGEST
from secure_fl.checks import (
    check,
    check_name,
    check_plain,
    check_types,
    check_words,
    positive,
)
from secure_fl.errors import ConfigError, NotPermitted
from secure_fl.extensions import NONE, Extensions, check_form, own_names
from secure_fl.mpc.planning import Network
from secure_fl.nodes.starting import PREPROCESSING
from secure_fl.server.guard import GuardOptions

VALIDATIONS = ("none", "rollback", "gate")
# Settings of a defence that change no result: where its keys are, how long it waits, by which of
# several equal circuits it computes, what it writes down and where it remembers.
NEUTRAL = ("keys", "timeout", "network", "transcript", "state")


@dataclass
class DefenceConfig:
    """What stands between the hospitals' updates and the next model.

    Attributes:
        name: name in tables and folders.
        rule: aggregation rule by name (`secure-fl list`), as `module:function`, or as a list of
            stages, `{stages: [...], max_abs: ...}`.
        params: the rule's own parameters, where it is named.
        backend: `plain` in the clear, `fixed` in the clear with MPC's arithmetic, `mpc` shared.
        nodes: computing nodes, for `mpc` alone.
        keys: folder of `secure-fl keys` for the connections between nodes; null makes fresh ones.
        preprocessing: where correlated randomness comes from: `dealer`, a process of its own, or
            `first_party`, CrypTen's TFP, whose node 0 could decrypt everything.
        insecure_preprocessing: must be true for `first_party`.
        minimum_hospitals: fewest that are combined, whoever asks, or `colluders` + 2 if that is
            more; null: 3. All, where there are fewer.
        colluders: how many of those combined may pool what they know, so that two others remain;
            public; null: as many as are malicious in the run.
        timeout: seconds after which a silent node or dealer counts as dead, for `mpc` alone. One
            that works, however long, is not silent.
        network: what joins the nodes, `latency_ms`, `mbit` and `lanes`
            (`secure_fl.mpc.planning.Network`), by which `mpc` chooses its circuits.
        transcript: folder in which the nodes record all they receive and send, for inspection:
            whoever reads it knows every update. Each start of nodes makes a folder in it.
        state: folder in which each node remembers, beyond its end, what it took and signed for
            (`secure_fl.nodes.memory`), so that no later start takes it again; one start of nodes
            uses it at a time. null: a temporary one, which ends with the nodes.
        ledger: commit, record and validate on the chain.
        reference: train a public root direction each round and hand it to the rule.
        reputation: weight hospitals by their reputation on the chain; needs `ledger`.
        samples_cap: where the rule weighs by numbers of rows, a hospital's claim counts for at most
            so many equal shares of the weight (`secure_fl.server.samples`).
        validation: `none` takes every model; `rollback` returns to the last accepted model when
            the chain calls the round abnormal; `gate` adds the guarded server's step search,
            early stop and final tuning.
        proximal_mu: replaces `train.proximal_mu` for this defence; null keeps it.
        guard: settings of the guarded server (`secure_fl.server.guard.GuardOptions`), with
            `validation: gate` alone.
        label: name in tables and figures; empty shows `name`.
        paper_method: row of the paper's tables that this defence stands for, if any.
        description: one line for `secure-fl list`.
    """

    name: str = "fedavg"
    rule: Any = "mean"
    params: dict[str, Any] = field(default_factory=dict)
    backend: str = "plain"
    nodes: int = 2
    keys: str | None = None
    preprocessing: str = "dealer"
    insecure_preprocessing: bool = False
    minimum_hospitals: int | None = None
    colluders: int | None = None
    timeout: float = 120.0
    network: dict[str, Any] = field(default_factory=dict)
    transcript: str | None = None
    state: str | None = None
    ledger: bool = False
    reference: bool = False
    reputation: bool = False
    samples_cap: float = 2.0
    validation: str = "none"
    proximal_mu: float | None = None
    guard: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    paper_method: str | None = None
    description: str = ""

    def __post_init__(self) -> None:
        check_plain("defence.name", self.name)
        key = f"defence {self.name!r}: "
        for words in ("label", "paper_method", "description"):
            check_words(key + words, getattr(self, words))
        check_name(key + "backend", self.backend, BACKENDS)
        check(2 <= self.nodes <= 4, key + "nodes", "from 2 to 4", self.nodes)
        check_name(key + "preprocessing", self.preprocessing, PREPROCESSING)
        check(
            self.preprocessing == "dealer" or self.insecure_preprocessing,
            key + "insecure_preprocessing",
            "true with preprocessing: first_party, where node 0 could decrypt every update",
            self.insecure_preprocessing,
        )
        least = self.minimum_hospitals
        check(least is None or least >= 1, key + "minimum_hospitals", "null or at least 1", least)
        cap = self.samples_cap
        check(1 <= cap < math.inf, key + "samples_cap", "at least 1 and finite", cap)
        good = positive(self.timeout) and self.timeout <= LONGEST
        check(good, key + "timeout", f"above 0, at most {LONGEST:,} s", self.timeout)
        check(
            self.colluders is None or self.colluders >= 0,
            key + "colluders",
            "null or at least 0",
            self.colluders,
        )
        check_name(key + "validation", self.validation, VALIDATIONS)
        check(
            self.ledger or not self.reputation,
            key + "reputation",
            "false without a ledger (the chain keeps reputations)",
            self.reputation,
        )
        check(
            self.ledger or self.validation != "rollback",
            key + "validation",
            "none or gate without a ledger (the chain decides on rollback)",
            self.validation,
        )
        check(
            self.validation == "gate" or not self.guard,
            key + "guard",
            "empty unless validation is gate",
            self.guard,
        )
        mu = self.proximal_mu
        check(mu is None or 0 <= mu < math.inf, key + "proximal_mu", "null or >= 0", mu)
        for name in self.own_names:
            check_form(name)
        if not self.own_names:
            self.build()
        self.guard_options()
        self.network_model()

    def guard_options(self) -> GuardOptions:
        """Build the guarded server's settings; a wrong one raises `ConfigError`."""
        options: GuardOptions = self._section("guard", GuardOptions)
        return options

    def network_model(self) -> Network:
        """Build what joins the nodes; a wrong value raises `ConfigError`."""
        network: Network = self._section("network", Network)
        return network

    def _section(self, name: str, made: type) -> Any:
        """An object of a class from a mapping of its fields, under the name of the mapping."""
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in getattr(self, name).items()
        }
        allowed = [f.name for f in fields(made)]
        for key in given:
            check_name(f"defence {self.name!r}: key of {name}", key, allowed)
        try:
            check_types(made, given)
            return made(**given)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"defence {self.name!r}, {name}: {error}") from error

    @property
    def own_names(self) -> tuple[str, ...]:
        """Names in the rule that stand for code of somebody's own."""
        return own_names(self.rule)

    def build(self, extensions: Extensions = NONE) -> aggregation.Pipeline:
        """Build the rule.

        Raises:
            ConfigError: a misspelt or impossible parameter.
            NotPermitted: code of somebody's own that is not among the extensions.
        """
        check(
            isinstance(self.rule, str | dict),
            f"defence {self.name!r}: rule",
            "a name, module:function, or a mapping with stages",
            self.rule,
        )
        try:
            return aggregation.make_rule(self.rule, self.params, extensions)
        except NotPermitted:
            raise
        except (ValueError, TypeError) as error:
            raise ConfigError(f"defence {self.name!r}: {error}") from error
