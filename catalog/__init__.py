"""Plain functions shared by the systems: parameters, files, assets, results, cards, the database, language models.

Importing this package imports neither torch nor transformers. Of its modules these do: `adapters`, `anatomy`, `attribution`,
`checkpoints`, `inference`, `interventions`, `lm`, `losses`, `neurons`, `training`.
"""
