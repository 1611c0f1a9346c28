"""Submissions of teams: the card, the rules of ranking, the checks of a pull request."""
