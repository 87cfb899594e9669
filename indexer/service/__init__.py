"""The service: one writer thread per store, a control socket for everybody else."""
