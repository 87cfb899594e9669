"""What people and programs are told: tables, SQL, explanations, and what is wrong with this machine."""
