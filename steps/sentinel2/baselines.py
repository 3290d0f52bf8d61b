"""Processing baselines of Level-1C products at which their form changes."""

#: The newest one whose format is known.
NEWEST_BASELINE = "05.12"
#: The first one whose numbers have an offset.
FIRST_WITH_OFFSET = "04.00"
