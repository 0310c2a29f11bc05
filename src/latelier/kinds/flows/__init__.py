"""Records of network traffic: their formats, and what each column is read as. What the kind ``traffic`` is made of."""
