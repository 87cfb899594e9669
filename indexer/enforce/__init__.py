"""Acting on a plan: the removal recipe, its trash, its ledger, and the way back (DESIGN §6)."""
