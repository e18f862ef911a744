"""One file per wire; routing, prices, tokens and the errors of model providers."""
