"""Plain functions shared by the systems: parameters, files, assets, results, cards, the database, language models.

Importing this package, or any module of it but `lm`, `training` and `attribution`, imports neither torch nor
transformers.
"""
