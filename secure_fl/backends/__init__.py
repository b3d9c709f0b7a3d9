"""Where a rule runs: in the clear, or between computing nodes."""
