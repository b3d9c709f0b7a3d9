"""What is signed, hashed and counted: the contract's interface, and its rule in plain Python."""
