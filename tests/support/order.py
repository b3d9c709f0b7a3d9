"""Which files of tests go first where several run side by side."""

from __future__ import annotations

# Those that take longest, by processor time, the longest first. Whatever is handed out last keeps
# one process busy while the others wait: that is to be a short one.
LONGEST = (
    "secure_fl/backends/test_mpc_equals_fixed.py",
    "secure_fl/backends/test_mpc_transcripts.py",
    "eval/audit/test_audit.py",
    "eval/jobs/test_protocol_faults.py",
    "eval/audit/test_audit_outcomes.py",
    "eval/jobs/test_objects_job.py",
    "eval/jobs/test_grid.py",
    "eval/audit/test_hostile_folder.py",
    "eval/cli/test_cli.py",
    "eval/scaffold/test_scaffold.py",
    "secure_fl/nodes/test_starting.py",
    "secure_fl/settings/test_config.py",
    "secure_fl/aggregation/test_rules_fixed.py",
    "secure_fl/aggregation/test_rules_common.py",
    "secure_fl/simulation/test_run.py",
    "eval/jobs/test_external_run.py",
    "secure_fl/backends/test_mpc_failures.py",
    "docs/test_cookbook.py",
    "docs/test_examples.py",
    "docs/test_notebook.py",
    "eval/report/test_report.py",
    "ledger/contracts/test_ledger_cheating.py",
    "ledger/audit/test_ledger_audit.py",
    "eval/jobs/test_resume.py",
    "eval/jobs/test_sweep.py",
    "eval/jobs/test_sweep_settings.py",
    "eval/jobs/test_matrix.py",
    "eval/jobs/test_run_shared.py",
    "eval/jobs/test_attack_lifecycle.py",
    "eval/cli/test_here.py",
    "eval/cli/test_experiment_files.py",
    "eval/bench/test_bench_mpc.py",
    "eval/bench/test_compare.py",
    "secure_fl/aggregation/test_rules_plain.py",
    "attacks/test_attacks_formulas.py",
    "secure_fl/simulation/test_round.py",
    "ledger/contracts/test_ledger_rounds.py",
    "ledger/contracts/test_ledger_state_machine.py",
    "ledger/contracts/test_ledger_reverts.py",
    "ledger/chains/test_ledger_external.py",
    "ledger/chains/test_ledger_node.py",
    "secure_fl/data/test_data_mimic3.py",
    "secure_fl/aggregation/test_operations.py",
    "secure_fl/aggregation/test_ranges.py",
    "secure_fl/mpc/test_planning.py",
)
_PLACE = {name: number for number, name in enumerate(LONGEST)}


def place(file: str) -> int:
    """A test file's place in the order, by its path below tests/; all others come after these."""
    return _PLACE.get(file, len(LONGEST))
