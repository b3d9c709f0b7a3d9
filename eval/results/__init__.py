"""What a run left, read again."""
