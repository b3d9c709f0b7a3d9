"""What the report says of every run: how to read a figure, who is trusted, the limits."""

from __future__ import annotations

# One sentence a figure: how to read it.
READING = {
    "attack_success": (
        "A bar is the rate at which the attack reaches its goal on the test set; its grey part is "
        "what the clean model of the same method shows already, and the number is the difference."
    ),
    "success_by_fraction": (
        "A robust method stays at zero as the share of malicious hospitals grows; one that breaks "
        "down shows where."
    ),
    "accuracy_over_rounds": (
        "A line that stays beside its neighbours of the first panel is unharmed; the dotted line "
        "is what the validators' public rows reach without any hospital. Lines end with the last "
        "round: tuning after it, as the guarded method has it, shows in the tables alone."
    ),
    "success_over_rounds": (
        "How quickly each attack takes hold of the kept model; a defence that works keeps the line "
        "where it starts. These are raw rates of the rounds' models: what a clean model shows is "
        "not taken off, and tuning after the last round shows in the bars above alone."
    ),
    "reputation": (
        "Each thin line is one hospital's reputation on the chain, the thick line the group's "
        "median: the two colours should part, with blue above. Where they do not, the screen has "
        "not told the attackers from the others."
    ),
    "who_holds_what": (
        "Each bar is one hospital's training rows, coloured by class: bars of unequal length hold "
        "unequal amounts, bars of unequal colour unequal mixtures. Where a setting repeats rows of "
        "rarer classes, a hospital trains on the same number of each class that it has. Where rows "
        "have several labels or none, bars are of labels, and the number beside one is of rows."
    ),
    "round_time": (
        "The bars show where the seconds of a round go, so the price of each layer can be read "
        "off against local training."
    ),
    "traffic": (
        "The dealer's material does not depend on any update and can be sent ahead; the online "
        "part cannot."
    ),
}

TRUST = (
    "Computing nodes are semi-honest: they follow the protocol and may remember everything. Any "
    "k−1 of the k nodes may pool what they saw and learn nothing beyond what was opened.",
    "The dealer of correlated randomness is a separate process, semi-honest, and does not collude "
    "with any node; it never sees an update or a share of one.",
    "Hospitals may be arbitrarily malicious, alone or together, and so may be what they submit. "
    "Each commits to its shares on the chain before aggregation.",
    "Validators hold their rows honestly and in the majority; their root rows are public to the "
    "aggregation.",
)

LIMITS = (
    "Attack results on SUPPORT2 or on LIDC-IDRI are not results on MIMIC-III or ChestX-ray14, the "
    "data of the paper: compare methods with each other, not levels with the paper.",
    "LIDC-IDRI images here are drawn from radiologists' outlines; they hold no CT pixels.",
    "The validators' public rows alone can come close to the federated model: read every accuracy "
    "beside the root-only line.",
    "Shares live in the ring of integers modulo 2^64 (CrypTen's), not in the paper's prime field.",
)
