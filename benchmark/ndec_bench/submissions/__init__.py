"""What a team hands in: the card, what ranks, the checks of a pull request."""
