"""Jobs: cells run one after another, watched and written down."""
