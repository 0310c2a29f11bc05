"""How picture files become uint8 tensors and go back: what the kind ``images`` is made of."""
