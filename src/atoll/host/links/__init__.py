"""Readers of records about links outside PCIe: pure parsers, and what joins them to a host's functions."""
