"""Addresses as people type them."""

from __future__ import annotations

from collections.abc import Container

from atoll.errors import InputError
from atoll.pci.address import Address

__all__ = ["address_of", "function_address"]


def address_of(text: str) -> Address:
    """Read an address. Raises InputError."""
    try:
        return Address.parse(text)
    except ValueError as error:
        raise InputError(
            str(error), hint="an address is written as in sysfs: 0004:04:00.0, or 04:00.0 in domain 0"
        ) from error


def function_address(text: str, functions: Container[Address], where: str) -> Address:
    """Read the address of one of a machine's functions. Raises InputError."""
    address = address_of(text)
    if address not in functions:
        raise InputError(f"{where} has no function {address}", hint="see: atoll show")
    return address
