"""A capture: what atoll reads of a host, as files to be read elsewhere, and what identifies its owner replaced."""
