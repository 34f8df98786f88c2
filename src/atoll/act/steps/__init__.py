"""What each kind of step does to a machine: how it is checked, carried out, read back and undone."""
