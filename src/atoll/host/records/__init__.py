"""Records of a machine that are no folder of its files: what people paste, and what other programs write of it.

``content`` finds out what kind a record is. ``lspci`` and ``group_lists`` read the two forms that people paste most,
``pasted`` finds them and boot logs in a text, ``programs`` reads other programs' documents, and ``merge`` makes one
host of several records. The modules beside these rooms are shared by them.
"""
