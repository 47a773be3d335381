"""What the papers prove of their models, one proof a file, and how it is checked."""

from stablebench.models.claims.claim import Claim, Evidence, Outcome, at_most

__all__ = ["Claim", "Evidence", "Outcome", "at_most"]
