"""The paper's evaluation, cell by cell: `secure-fl paper`."""
