"""The index: one SQLite file that converges on the tree. One writer (`apply.Index`), any number of readers."""
