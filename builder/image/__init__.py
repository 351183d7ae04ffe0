"""Images as values: names, documents, and what hangs on what. It touches nothing, and all rooms speak it."""
