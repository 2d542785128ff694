"""How the bundled sample is made: small repositories, and agents that work in them by shell commands."""
