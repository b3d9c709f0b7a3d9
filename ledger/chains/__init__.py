"""Chains behind one interface: py-evm in this process, any EVM node by URL."""
