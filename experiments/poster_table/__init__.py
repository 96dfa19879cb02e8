"""The table of the follow-up's poster, trained and measured anew at any budget: docs/study.md."""
