"""`report html`: one page with all that the reports tell, in one file that needs nothing else and asks no network."""
