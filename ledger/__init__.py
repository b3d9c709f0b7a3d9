"""The permissioned chain: contracts, client, export and audit."""
