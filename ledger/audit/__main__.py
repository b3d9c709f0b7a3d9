"""``python -m ledger.audit FILE``."""

import sys

from ledger.audit.chain_file import main

sys.exit(main())
