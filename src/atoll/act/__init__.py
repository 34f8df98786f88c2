"""The only code that changes a machine."""
