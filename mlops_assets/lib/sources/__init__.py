"""Sources: where the data of a use case come from.

Whatever a source fetches is handed to the landing place, which stays the only way in: a file that
lands is ingested the same way, whether a person or a source has brought it.
"""
