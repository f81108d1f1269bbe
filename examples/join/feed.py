"""Joins ad impressions with clicks: an impression without a click within ten minutes is a negative."""

from shadowstream import Feed, fields

feed = Feed(
    name="clicks",
    prediction=fields(id="ad_id", t="shown_at"),
    outcome=fields(id="ad_id", t="clicked_at", label="clicked"),
)
