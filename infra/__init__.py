"""Everything acaops runs on: Bicep for real Azure, and an embedded local Azure for laptops and tests."""
