"""The stand-in endpoint and the bundled sample: the whole pipeline without a key and without a network."""
