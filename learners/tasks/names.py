"""The names of the metrics that several tasks have, and by which results are found."""

LOG_LOSS, AUC = "log loss", "AUC"
