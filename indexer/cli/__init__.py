"""The command line: thin commands over `indexer.manager`; what they print is rendered apart from what they do."""
