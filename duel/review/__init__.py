"""People in the loop: a drawn sample of duels, a blind page to vote on, and what the votes say of the panel."""
