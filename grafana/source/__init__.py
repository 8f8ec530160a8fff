"""What the dashboards are made of: `parts` is shared, every other module is one dashboard."""
