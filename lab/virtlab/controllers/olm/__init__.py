"""The Operator Lifecycle Manager: catalogs, subscriptions, install plans and what they install."""
