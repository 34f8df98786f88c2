"""Texts that people paste: the lspci output, group lists and boot logs in them, and what is around these."""
