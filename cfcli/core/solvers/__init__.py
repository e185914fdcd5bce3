"""How an MF is fitted, where it is not by gradients."""
