"""Single figures within the documents' sentences, by their names, from rows that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.paper.judging import Case, cases
from eval.paper.rows import FEDAVG, Row, distinct, over_clean, values
from eval.results.style import NO_ATTACK, PUBLIC_ONLY, ROOT_ONLY
from eval.tables.averages import average, mean, subtract
from eval.tables.sheet import DASH, decimals, percent, points
from secure_fl.errors import InputError

# The recipe that the sentences about the defence's tables tell of, and its task with few rows.
DISTILLED, FEW = "distilled", "support2-few"
SECURE = "secure_aggregation"
# Tasks on which sentences tell of its layers, the second with the root whose gain is missed.
LAYERS, LARGE = "support2-200", "support2-456"


def figures(
    kept: Mapping[str, Sequence[Row]], tables: Mapping[str, Sequence[Row]]
) -> dict[str, str]:
    """All of them.

    Args:
        kept: rows of runs by the name of their run.
        tables: rows of `table2`, `defence`, `layers` and `tuning_aware`.
    """
    table2 = tables["table2"]
    of = {data: [row for row in table2 if row["data"] == data] for data in distinct(table2, "data")}
    told = _of_table2(of["support2"], "table2")
    for data, rows in of.items():
        told |= _of_table2(rows, f"table2-{data}")
    told |= _of_defence(tables["defence"]) | _of_layers(tables["layers"])
    return _of_runs(kept) | told | _of_guarded(tables["tuning_aware"])


def _of_table2(rows: Sequence[Row], place: str) -> dict[str, str]:
    """Means over the seeds on one data set: success over clean by method and attack, AUCs, gain
    that `guarded` keeps, whom `paper` names; under names that begin with `place`."""

    def over(method: str, attack: str) -> str:
        return points(average(values(rows, over_clean, method=method, attack=attack)))

    def auc(method: str) -> str:
        return decimals(average(values(rows, "auc", method=method, attack=NO_ATTACK)))

    def named(measure: str) -> str:
        told = average(values(rows, f"detection_{measure}", method="paper", attack="backdoor"))
        return percent(told).replace("%", " %")

    gain = average(values(rows, "gain_retained", method="guarded", attack=NO_ATTACK))
    told = {
        "table2-paper-sign": over("paper", "sign_flip"),
        "table2-paper-backdoor": over("paper", "backdoor"),
        "table2-median-backdoor": over("robust", "backdoor"),
        "table2-fedavg-backdoor": over(FEDAVG, "backdoor"),
        "table2-guarded-sign": over("guarded", "sign_flip"),
        "table2-guarded-backdoor": over("guarded", "backdoor"),
        "table2-paper-recall": named("recall"),
        "table2-paper-precision": named("precision"),
        "table2-fedavg-auc": auc(FEDAVG),
        "table2-root-auc": auc(ROOT_ONLY),
        "table2-guarded-gain": DASH if gain is None else percent(gain).replace("%", " %"),
    }
    return {place + name.removeprefix("table2"): text for name, text in told.items()}


def _of_runs(kept: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    main, lying, unbound = kept["main"], kept["overstated"], kept["unbound"]
    seeds = {name: rows for name, rows in kept.items() if name.startswith("seeds-")}
    adaptive = {
        name: mean(rows, "attack_success_excess", "guarded", "adaptive_backdoor", 0.4) or 0.0
        for name, rows in seeds.items()
    }
    worst = max(adaptive, key=lambda name: adaptive[name])
    lost = subtract(*(mean(main, "accuracy", FEDAVG, each) for each in (NO_ATTACK, "random_noise")))
    missed = {
        f"main-missed-{method}-{attack}": mean(main, "recall_at_even_odds", method, attack)
        for method in (FEDAVG, "guarded")
        for attack in (NO_ATTACK, "label_flip")
    }
    told = {
        "main-gain": subtract(
            *(mean(main, "auc", each, NO_ATTACK) for each in (FEDAVG, ROOT_ONLY))
        ),
        "main-noise": mean(main, "attack_success_excess", FEDAVG, "random_noise"),
        "main-noise-lost": lost,
        "overstated-backdoor": mean(lying, "attack_success_excess", FEDAVG, "backdoor"),
        **{
            f"unbound-{attack}": mean(unbound, "attack_success_excess", SECURE, attack)
            for attack in ("model_replacement", "random_noise")
        },
        "adaptive-worst": adaptive[worst],
    }
    whole = {name: subtract(1.0, recall) for name, recall in missed.items()}
    return {name: points(value).lstrip("+") for name, value in told.items()} | {
        **{name: DASH if v is None else f"{100 * v:.0f} %" for name, v in whole.items()},
        "main-auc": decimals(mean(main, "auc", FEDAVG, NO_ATTACK)),
        "main-flipped-auc": decimals(mean(main, "auc", FEDAVG, "label_flip")),
        "adaptive-worst-seed": worst.removeprefix("seeds-"),
    }


def _of_defence(rows: Sequence[Row]) -> dict[str, str]:
    """What `distilled` is told of on its tasks, data set by data set; SUPPORT2 without `FEW`."""
    tasks = distinct(rows, "task")
    by_task = {task: [row for row in rows if row["task"] == task] for task in tasks}
    groups = {"few": [FEW]}
    for data in distinct(rows, "data"):
        own = [task for task in tasks if by_task[task][0]["data"] == data and task != FEW]
        groups[data.partition("_")[0]] = own
    told = {}
    for name, members in groups.items():
        beyond = [_beyond(by_task[task], DISTILLED) for task in members]
        honest = [_honest(by_task[task]) for task in members]
        told[f"beyond-{name}"] = _span(beyond, 4)
        told[f"fedavg-beyond-{name}"] = _span([_beyond(by_task[t], FEDAVG) for t in members], 4)
        told[f"honest-{name}"] = f"{_span([100 * value for value in honest], 1)} %"
        told[f"honest-most-{name}"] = f"{100 * max(honest):.1f} %"
        found = [case for task in members for case in cases(by_task[task], DISTILLED)]
        means = [mean for case in found if (mean := average(case.success)) is not None]
        told[f"most-{name}"] = points(max(means)).lstrip("+")
        told[f"worst-{name}"] = points(max(_successes(found))).lstrip("+")
    told["456-gap"] = points(_most_gained(by_task[LARGE])).lstrip("+")
    for task, own in by_task.items():
        sign = values(own, "detection_recall", method=DISTILLED, attack="sign_flip")
        told[f"sign-recall-{task}"] = percent(average(sign)).replace("%", " %")
    return {f"defence-{name}": text for name, text in told.items()}


def _of_layers(rows: Sequence[Row]) -> dict[str, str]:
    """How far FedAvg and `distilled` are above public rows alone, on the seeds of the choice."""
    own = [row for row in rows if row["task"] == LAYERS]
    beyond = {"fedavg": _beyond(own, FEDAVG), "distilled": _beyond(own, DISTILLED)}
    large = [row for row in rows if row["task"] == LARGE]
    gains = {
        name: average(values(large, "gain_retained", method=name, attack=NO_ATTACK))
        for name in (DISTILLED, "from_model")
    }
    return {f"layers-{name}-beyond": f"{value:.4f}" for name, value in beyond.items()} | {
        f"layers-456-{name}": DASH if gain is None else f"{gain:.2f}"
        for name, gain in gains.items()
    }


def _of_guarded(rows: Sequence[Row]) -> dict[str, str]:
    """How many honest submissions `guarded` names without attack, over seeds and roots."""
    named = [100 * value for value in values(rows, "honest_named", method="guarded", malicious=0.0)]
    return {"guarded-honest": f"{_span(named, 0)} %"}


def _beyond(rows: Sequence[Row], method: str) -> float:
    """AUC of a method above that of all public rows alone, without attack, mean over the seeds."""
    own = [values(rows, "auc", method=name, attack=NO_ATTACK) for name in (method, PUBLIC_ONLY)]
    gap = subtract(*map(average, own))
    if gap is None:
        raise InputError(f"rows must have {method} and {PUBLIC_ONLY} without attack")
    return gap


def _most_gained(rows: Sequence[Row]) -> float:
    """Most AUC that FedAvg without attack has above root only, of the seeds."""
    by_seed = {
        name: {
            row["seed"]: row["auc"]
            for row in rows
            if row["method"] == name and not row["malicious"]
        }
        for name in (FEDAVG, ROOT_ONLY)
    }
    return max(auc - by_seed[ROOT_ONLY][seed] for seed, auc in by_seed[FEDAVG].items())


def _honest(rows: Sequence[Row]) -> float:
    """Highest share of honest hospital-rounds named, of the attacks' means."""
    found = [average(case.honest) for case in cases(rows, DISTILLED)]
    return max(value for value in found if value is not None)


def _successes(found: Sequence[Case]) -> list[float]:
    return [value for case in found for value in case.success]


def _span(found: Sequence[float], digits: int) -> str:
    """The lowest and the highest: "0.1 to 0.4", or one where they are written alike."""
    rounded = [round(value, digits) + 0.0 for value in (min(found), max(found))]  # no "-0.0"
    ends = [f"{value:.{digits}f}".replace("-", "−") for value in rounded]
    return " to ".join(dict.fromkeys(ends))
